//! Qwen3-Embedding: Qwen3's layers as they are, causal; the last token speaks for the text (rows H2,
//! P-H2). Its tokenizer appends that token.
//! Source: arXiv 2506.05176.

use super::decoder::{self, DecoderEncoder};
use super::{Encoder, EncoderArchitecture, EncoderShape};
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::layers::PreNormLayer;
use crate::models::Architecture;
use crate::models::config::TextConfig;
use crate::models::qwen3::Qwen3;
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use serde_json::Value;
use std::path::Path;

/// A loaded Qwen3-Embedding.
pub struct Qwen3Embedding(DecoderEncoder<PreNormLayer>);

impl EncoderArchitecture for Qwen3Embedding {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<TextConfig, LoadError> {
        Qwen3::config(file, json)
    }

    fn shape(config: &TextConfig) -> EncoderShape {
        decoder::shape(config)
    }

    fn load(config: &TextConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let config = decoder::without_head(config);
        let Qwen3(lm) = Qwen3::load(&config, &decoder::under_text_names(weights))?;
        Ok(Self(DecoderEncoder::new(&config, lm)?))
    }
}

impl Encoder for Qwen3Embedding {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        self.0.encode(batch)
    }
}
