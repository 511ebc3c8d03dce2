//! Every model with plain arithmetic, where nothing is rounded but f32 (elsewhere activations are
//! rounded beside weights in blocks and in BF16): all agree closely with transformers. A binary of its
//! own, because the instruction set is chosen once per process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "what the other binary uses besides")]

#[path = "../it/answers.rs"]
mod answers;
#[path = "../it/distance.rs"]
mod distance;

#[test]
fn every_model_agrees_with_transformers() {
    mistralrs_core::force_instruction_set("scalar").unwrap();
    for name in mistralrs_testkit::HF_MODELS {
        distance::check_closely(name);
    }
}

#[test]
fn models_in_blocks_agree_with_transformers() {
    mistralrs_core::force_instruction_set("scalar").unwrap();
    for name in mistralrs_testkit::GGUF_MODELS {
        distance::check_closely(name);
    }
}
