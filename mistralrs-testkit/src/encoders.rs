//! The fixtures of encoders: folders and reference vectors written by `scripts/fixtures/encoders.py`.

use crate::{fixture, read_json};
use serde::Deserialize;

/// Folders that give vectors, with a golden.
pub const EMBEDDING_MODELS: [&str; 6] = [
    "bert-cls-dense",
    "bert-plain",
    "roberta-mean",
    "modernbert",
    "qwen3-embedding",
    "embedding-gemma",
];

/// Folders that give scores, with a golden.
pub const CROSS_ENCODERS: [&str; 3] = ["bert-rerank", "roberta-rerank", "modernbert-rerank"];

/// GGUF files that give vectors, with a golden beside them; the first is a piece of a split one.
pub const GGUF_EMBEDDING_MODELS: [&str; 5] = [
    "bert-cls-f32-00001-of-00002.gguf",
    "roberta-mean-f32.gguf",
    "modernbert-f32.gguf",
    "qwen3-embedding-f32.gguf",
    "embedding-gemma-f32.gguf",
];

/// GGUF files that give scores, with a golden beside them.
pub const GGUF_CROSS_ENCODERS: [&str; 3] =
    ["bert-rerank-f16.gguf", "roberta-rerank-f16.gguf", "modernbert-rerank-f16.gguf"];

/// Reference values of one encoder.
#[derive(Debug, Clone, Deserialize)]
pub struct EncoderGolden {
    /// Of one that gives vectors.
    #[serde(default)]
    pub texts: Vec<TextGolden>,
    /// Of one that gives scores.
    #[serde(default)]
    pub pairs: Vec<PairGolden>,
}

/// A text and its vector.
#[derive(Debug, Clone, Deserialize)]
pub struct TextGolden {
    /// The text.
    pub text: String,
    /// What is put before it; `None` = the model's default, if it has one.
    pub prompt_name: Option<String>,
    /// Its ids with prompt and special tokens, uncut.
    pub ids: Vec<u32>,
    /// Whether it is longer than the model's texts are.
    pub truncated: bool,
    /// The vector.
    pub vector: Vec<f32>,
}

/// A pair of texts and its score.
#[derive(Debug, Clone, Deserialize)]
pub struct PairGolden {
    /// The first.
    pub query: String,
    /// The second.
    pub document: String,
    /// Ids of both with special tokens.
    pub ids: Vec<u32>,
    /// The classifier's number.
    pub logit: f32,
}

/// The reference values of an entry of the four lists.
///
/// # Panics
/// When there are none.
pub fn encoder_golden(name: &str) -> EncoderGolden {
    match name.strip_suffix(".gguf") {
        Some(stem) => {
            let whole = stem.split_once("-00001-of-").map_or(stem, |(whole, _)| whole);
            read_json(&fixture(&format!("{whole}.golden.json")))
        }
        None => read_json(&fixture(name).join("golden.json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_golden_is_complete() {
        for name in EMBEDDING_MODELS.iter().chain(&GGUF_EMBEDDING_MODELS) {
            let golden = encoder_golden(name);
            assert!(golden.texts.len() >= 4 && golden.pairs.is_empty(), "{name}");
            let width = golden.texts[0].vector.len();
            assert!(golden.texts.iter().all(|case| case.vector.len() == width), "{name}");
            let same = |a: &TextGolden, b: &TextGolden| a.vector == b.vector;
            assert!(!same(&golden.texts[0], &golden.texts[1]), "{name}");
        }
        for name in CROSS_ENCODERS.iter().chain(&GGUF_CROSS_ENCODERS) {
            let golden = encoder_golden(name);
            assert!(golden.pairs.len() == 3 && golden.texts.is_empty(), "{name}");
        }
    }
}
