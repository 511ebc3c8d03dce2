//! Llama 1–3.x: pre-norm layers, grouped heads, SwiGLU; rope plain, linear,
//! llama3 or dynamic.
//! Source: `modeling_llama.py` of Hugging Face transformers; arXiv 2302.13971, 2407.21783.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, PreNormLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::Value;
use std::path::Path;

/// A loaded Llama.
#[derive(Debug)]
pub struct Llama(CausalLm<PreNormLayer>);

impl Architecture for Llama {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        TextConfig::parse(file, json)
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config)
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let biases = AttentionBiases { qkv: config.attention_bias, output: config.attention_bias };
        let lm = decoder::load(config, weights, |number, weights| {
            let params = decoder::attention_params(config);
            decoder::pre_norm_layer(config, number, weights, params, biases)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Llama {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
