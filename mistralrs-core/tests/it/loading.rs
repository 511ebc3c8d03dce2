//! What a broken or unsuitable model says of itself: tensors, files and numbers are named.

use crate::answers::{ask, greedy, load, options};
use mistralrs_core::{Llm, LoadError, QuantType};
use mistralrs_testkit::{copy_of, fixture, golden};
use serde_json::{Value, json};
use std::path::Path;

/// What loading a fixture says after its `config.json` has been changed.
fn refusal(name: &str, changes: &[(&str, Value)]) -> String {
    let copy = copy_of(name);
    let file = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    std::fs::write(&file, config.to_string()).unwrap();
    error_of(copy.path(), |_| ()).to_string()
}

fn error_of(model: &Path, change: impl FnOnce(&mut mistralrs_core::LoadOptions)) -> LoadError {
    let mut options = options(model);
    change(&mut options);
    Llm::load(options).unwrap_err()
}

#[test]
fn what_is_not_supported_is_said() {
    let unknown = refusal("llama-plain", &[("architectures", json!(["FooForCausalLM"]))]);
    assert!(unknown.contains("FooForCausalLM") && unknown.contains("Qwen2ForCausalLM"));
    let two = refusal("llama-plain", &[("architectures", json!(["A", "B"]))]);
    assert!(two.contains("exactly one"), "{two}");
    let act = refusal("llama-plain", &[("hidden_act", json!("relu"))]);
    assert!(act.contains("relu"), "{act}");
}

#[test]
fn a_cache_that_cannot_fit_is_refused_with_the_number_that_would() {
    let error = error_of(&fixture("llama-plain"), |o| o.kv_cache_tokens = Some(usize::MAX >> 20));
    assert!(matches!(error, LoadError::OutOfMemory(_)), "{error}");
    assert!(error.to_string().contains("would fit"), "{error}");
}

#[test]
fn weights_are_quantized_on_request_and_still_make_sense() {
    for ty in [QuantType::Q8_0, QuantType::Q4_K] {
        let llm = load(&fixture("stories260K"), |o| o.isq = Some(ty));
        let answer = ask(&llm, &[1], greedy(12));
        assert!(
            answer.text.trim_start().starts_with("Once upon a time"),
            "{ty:?}: {}",
            answer.text
        );
    }
}

#[test]
fn shards_are_one_model() {
    assert!(fixture("qwen2-untied").join("model.safetensors.index.json").exists());
    let case = &golden("qwen2-untied").cases[1];
    let llm = load(&fixture("qwen2-untied"), |_| ());
    assert_eq!(ask(&llm, &case.prompt, greedy(5)).token_ids, case.greedy_ids()[..5]);
}
