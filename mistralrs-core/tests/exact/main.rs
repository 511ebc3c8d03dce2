//! All models with plain arithmetic, where nothing is rounded but to f32: they agree with transformers,
//! those in blocks with their dequantized weights. A binary of its own, because the
//! instruction set is chosen once per process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "what the other binary uses besides")]

#[path = "../it/answers.rs"]
mod answers;
#[path = "../it/distance.rs"]
mod distance;
mod options;

#[test]
fn every_model_agrees_with_transformers_where_nothing_is_rounded() {
    mistralrs_core::force_instruction_set("scalar").unwrap();
    for name in mistralrs_testkit::HF_MODELS.iter().chain(mistralrs_testkit::GGUF_MODELS) {
        distance::check_closely(name);
    }
}
