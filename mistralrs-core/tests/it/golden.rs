//! Every architecture against transformers, in numbers: log-probabilities of prompt and greedy
//! continuation, however the work is cut.

use crate::answers::{ask, greedy, instruction_set, load};
use crate::distance::{check_closely, check_loosely, scored};
use mistralrs_core::models::ARCHITECTURES;
use mistralrs_testkit::{
    GGUF_MODELS, HF_MODELS, fixture, golden, in_bfloat16, read_json, shared, stories260k,
    stories260k_reference,
};
use serde_json::Value;

/// Where the processor multiplies 16-bit floats, activations are rounded to them, and 16-bit weights
/// are in reach of that; `tests/exact` checks all models without any rounding.
pub fn is_rounded(name: &str) -> bool {
    let is_wide = match name.strip_suffix(".gguf") {
        Some(stem) => stem.ends_with("-f32"),
        None => read_json::<Value>(&fixture(name).join("config.json"))["dtype"] == "float32",
    };
    let in_blocks = name.contains("q8_0") || name.contains("mixed");
    in_blocks || (instruction_set() == "avx512bf16" && !is_wide)
}

#[test]
fn every_model_agrees_with_transformers() {
    for name in HF_MODELS.iter().chain(GGUF_MODELS).filter(|name| !is_rounded(name)) {
        check_closely(name);
    }
}

/// Where the processor multiplies in integers, activations are rounded to 8 bits. The width of these
/// models (20 to 64) leaves little to average out; `tests/exact` checks the same files without rounding.
#[test]
fn models_with_rounded_activations_stay_near_their_reference() {
    for name in HF_MODELS.iter().chain(GGUF_MODELS).filter(|name| is_rounded(name)) {
        check_loosely(&fixture(name), name);
    }
}

/// Every architecture with its weights in bfloat16, against transformers in float32. Where the
/// processor multiplies in bfloat16 activations are rounded to 8 bits, too.
#[test]
fn every_model_in_bfloat16_stays_near_its_reference() {
    for name in HF_MODELS {
        check_loosely(in_bfloat16(name).path(), name);
    }
}

#[test]
fn both_generations_of_config_give_the_same() {
    for name in HF_MODELS {
        let old = mistralrs_testkit::with_old_config(name);
        let (new, old) = (load(&fixture(name), |_| ()), load(old.path(), |_| ()));
        for case in golden(name).cases {
            let new = ask(&new, &case.prompt, scored(&case));
            assert_eq!(new.bits(), ask(&old, &case.prompt, scored(&case)).bits(), "{name}");
        }
    }
}

#[test]
fn every_architecture_has_a_golden() {
    for row in ARCHITECTURES {
        let covered = HF_MODELS.iter().any(|name| {
            let config = std::fs::read_to_string(fixture(name).join("config.json")).unwrap();
            config.contains(row.name)
        });
        assert!(covered, "{} has no fixture", row.name);
    }
}

#[test]
fn stories_are_told_word_for_word() {
    let reference = stories260k_reference();
    let llm = load(&stories260k(), |_| ());
    for case in &reference.cases {
        let answer = ask(&llm, &case.prompt_ids, greedy(200));
        assert_eq!(answer.token_ids, case.greedy_200_ids);
    }
    let from_bos = &reference.cases[0];
    let answer = ask(&llm, &from_bos.prompt_ids, greedy(200));
    assert_eq!(answer.text.trim_start(), reference.expected_stdout);
}

#[test]
fn quantised_stories_follow_their_dequantised_reference() {
    let reference = stories260k_reference();
    let q8_0 = load(&fixture("stories260K-q8_0.gguf"), |_| ());
    assert_eq!(ask(&q8_0, &[1], greedy(60)).token_ids, reference.gguf.q8_0.greedy_60_ids);
    // The other files lie outside the project.
    if let Some(file) = shared("models/stories260K-q4_0.gguf") {
        let q4_0 = load(&file, |_| ());
        assert_eq!(ask(&q4_0, &[1], greedy(60)).token_ids, reference.gguf.q4_0.greedy_60_ids);
    }
    if let Some(file) = shared("models/stories260K-f32.gguf") {
        let f32 = load(&file, |_| ());
        let from_bos = &reference.cases[0];
        let answer = ask(&f32, &from_bos.prompt_ids, greedy(200));
        assert_eq!(answer.token_ids, from_bos.greedy_200_ids);
        assert_eq!(answer.text.trim_start(), reference.expected_stdout);
    }
}
