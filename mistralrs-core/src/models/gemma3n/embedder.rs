//! How Gemma 3n brings what it saw or heard to its text model's width, and the tokens of the vocabulary
//! that speak of pictures and sounds: they have a table of their own beside the text's.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers.

use crate::error::LoadError;
use crate::layers::RmsNorm;
use crate::weights::Weights;
use candle_core::{DType, Device, Result, Tensor};
use mistralrs_quant::{Linear, QuantMethod};
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The keys of `vision_config` and of `audio_config` that both have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EmbedderConfig {
    /// Width of what the tower gives.
    pub hidden_size: usize,
    vocab_size: usize,
    vocab_offset: usize,
    rms_norm_eps: f64,
}

impl EmbedderConfig {
    /// Reads a part of `config.json`, `part` for messages; `keys` has the defaults already.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(file: &Path, part: &str, keys: &Value) -> std::result::Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile {
            file: file.to_owned(),
            reason: format!("`{part}`: {reason}"),
        };
        let config = Self::deserialize(keys).map_err(|error| bad(error.to_string()))?;
        let most = super::super::config::LARGEST_DIMENSION;
        for (key, value) in [
            ("hidden_size", config.hidden_size),
            ("vocab_size", config.vocab_size),
            ("vocab_offset", config.vocab_offset),
        ] {
            if !(1..=most).contains(&value) {
                return Err(bad(format!("`{key}` is {value}, outside 1..={most}")));
            }
        }
        Ok(config)
    }
}

/// One kind of media's way into the text model.
pub struct MediaEmbedder {
    /// `[vocab, hidden]`: tokens from `offset` on.
    table: Arc<dyn QuantMethod>,
    offset: usize,
    hard_norm: RmsNorm,
    soft_norm: RmsNorm,
    projection: Linear,
    post_norm: RmsNorm,
}

impl MediaEmbedder {
    /// Reads the module at `weights`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &EmbedderConfig,
        weights: &Weights,
        text_hidden: usize,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let norm = |name| RmsNorm::load(&weights.pp(name), hidden, eps);
        let ones = Tensor::ones(text_hidden, DType::F32, &Device::Cpu)?;
        Ok(Self {
            table: weights.pp("embedding").table(config.vocab_size, hidden)?,
            offset: config.vocab_offset,
            hard_norm: norm("hard_embedding_norm")?,
            soft_norm: norm("soft_embedding_norm")?,
            projection: weights.pp("embedding_projection").linear(text_hidden, hidden, false)?,
            post_norm: RmsNorm::new(ones, eps),
        })
    }

    /// The ids that are embedded here.
    pub fn ids(&self) -> Range<usize> {
        self.offset..self.offset + self.table.info().rows
    }

    /// Tokens of the vocabulary, each within [`MediaEmbedder::ids`] → `[tokens, text width]`.
    ///
    /// # Errors
    /// When an id is outside.
    pub fn tokens(&self, ids: &[u32]) -> Result<Tensor> {
        let local: Vec<u32> = ids.iter().map(|id| id.wrapping_sub(self.offset as u32)).collect();
        let rows = self.table.rows(&Tensor::new(local, &Device::Cpu)?)?;
        self.project(&self.hard_norm.forward(&rows)?)
    }

    /// What a tower gave, `[tokens, hidden]` → `[tokens, text width]`.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        self.project(&self.soft_norm.forward(x)?)
    }

    fn project(&self, x: &Tensor) -> Result<Tensor> {
        self.post_norm.forward(&self.projection.forward(x)?)
    }
}
