//! Checkpoints whose tensors are named otherwise: each release of transformers has put another prefix
//! before the parts of a model that sees.

use crate::answers::{ask, load};
use crate::distance::scored;
use mistralrs_testkit::{copy_of, golden};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A copy of a fixture with its tensors renamed.
fn renamed(fixture: &str, name: impl Fn(&str) -> String) -> TempDir {
    let copy = copy_of(fixture);
    let file = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (header, numbers) = rest.split_at(length);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let header: Map<String, Value> = header.into_iter().map(|(key, v)| (name(&key), v)).collect();
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&file, [&length[..], &header, numbers].concat()).unwrap();
    copy
}

#[test]
fn gemma3_loads_under_the_names_of_every_release() {
    let case = &golden("gemma3-vision").cases[0];
    let answer =
        |folder: &std::path::Path| ask(&load(folder, |_| ()), &case.prompt, scored(case)).bits();
    let released = answer(&mistralrs_testkit::fixture("gemma3-vision"));
    let in_model = |name: &str| match name {
        "__metadata__" => name.to_owned(),
        _ => format!("model.{}", name.replace("language_model.model.", "language_model.")),
    };
    let newer = renamed("gemma3-vision", in_model);
    assert_eq!(answer(newer.path()), released);
    let newest = renamed("gemma3-vision", |name| in_model(name).replace("vision_model.", ""));
    assert_eq!(answer(newest.path()), released);
}
