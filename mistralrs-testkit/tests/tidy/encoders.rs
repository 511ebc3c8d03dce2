//! docs/encoders.md lists the registry of encoders, and every family in it has reference values.

use crate::sources::{expect_none, read};
use mistralrs_testkit::encoders::{CROSS_ENCODERS, EMBEDDING_MODELS};
use mistralrs_testkit::{fixture, read_json};

/// What stands between the first quotation marks of each row.
fn registry() -> Vec<String> {
    let source = read("mistralrs-core/src/models/encoders/mod.rs");
    let table = source.split_once("pub const ENCODERS").unwrap().1.split_once("];").unwrap().0;
    let rows = table.split("row::<").skip(1);
    rows.map(|row| row.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn the_encoder_list_is_the_registry() {
    let page = read("docs/encoders.md");
    let list = page.split("<!-- encoders -->").nth(1).unwrap();
    let list = list.split("<!-- /encoders -->").next().unwrap();
    let listed: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, registry());
}

#[test]
fn every_encoder_family_has_reference_values() {
    let type_of = |name: &&str| {
        let config: serde_json::Value = read_json(&fixture(name).join("config.json"));
        config["model_type"].as_str().unwrap().to_owned()
    };
    let covered: Vec<String> =
        EMBEDDING_MODELS.iter().chain(&CROSS_ENCODERS).map(type_of).collect();
    let source = read("mistralrs-core/src/models/encoders/mod.rs");
    let table = source.split_once("pub const ENCODERS").unwrap().1.split_once("];").unwrap().0;
    let types = table.split("row::<").skip(1).map(|row| row.split('"').nth(3).unwrap());
    // RoBERTa and XLM-RoBERTa are one implementation.
    let absent = types.filter(|ty| {
        !covered.iter().any(|known| known.replace("xlm-", "") == ty.replace("xlm-", ""))
    });
    expect_none(
        "encoder families without reference values",
        &absent.map(str::to_owned).collect::<Vec<_>>(),
    );
}
