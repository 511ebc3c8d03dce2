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

/// The reference values of an entry of [`EMBEDDING_MODELS`] or [`CROSS_ENCODERS`].
///
/// # Panics
/// When there are none.
pub fn encoder_golden(name: &str) -> EncoderGolden {
    read_json(&fixture(name).join("golden.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_golden_is_complete() {
        for name in EMBEDDING_MODELS {
            let golden = encoder_golden(name);
            assert!(golden.texts.len() >= 5 && golden.pairs.is_empty(), "{name}");
            let width = golden.texts[0].vector.len();
            assert!(golden.texts.iter().all(|case| case.vector.len() == width), "{name}");
            let same = |a: &TextGolden, b: &TextGolden| a.vector == b.vector;
            assert!(!same(&golden.texts[0], &golden.texts[1]), "{name}");
        }
        for name in CROSS_ENCODERS {
            let golden = encoder_golden(name);
            assert!(golden.pairs.len() == 3 && golden.texts.is_empty(), "{name}");
        }
    }
}
