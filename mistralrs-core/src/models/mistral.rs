//! Mistral: Llama's layers, each with the same sliding window, or with none in newer files.
//! Source: `modeling_mistral.py` of Hugging Face transformers; arXiv 2310.06825.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, PreNormLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Mistral.
#[derive(Debug)]
pub struct Mistral(CausalLm<PreNormLayer>);

impl Architecture for Mistral {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        // The first file's window; newer files set it to null.
        TextConfig::parse_with(file, json, json!({"sliding_window": 4096}))
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config).with_windows(|_| config.sliding_window)
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let biases = AttentionBiases { qkv: false, output: false };
        let lm = decoder::load(config, weights, |number, weights| {
            let window = config.sliding_window;
            let params = AttentionParams { window, ..decoder::attention_params(config) };
            decoder::pre_norm_layer(config, number, weights, params, biases)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Mistral {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
