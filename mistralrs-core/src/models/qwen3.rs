//! Qwen3: Llama's layers with a norm of every query and key head, and windows as in Qwen2.
//! Source: `modeling_qwen3.py` of Hugging Face transformers; arXiv 2505.09388.

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

/// A loaded Qwen3.
#[derive(Debug)]
pub struct Qwen3(pub(super) CausalLm<PreNormLayer>);

impl Architecture for Qwen3 {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        let defaults = json!({"head_dim": 128, "sliding_window": 4096});
        TextConfig::parse_with(file, json, defaults)
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config).with_windows(|layer| decoder::qwen_window(config, layer))
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let biases = AttentionBiases { qkv: config.attention_bias, output: config.attention_bias };
        let lm = decoder::load(config, weights, |number, weights| {
            let params = AttentionParams {
                window: decoder::qwen_window(config, number),
                ..decoder::attention_params(config)
            };
            let (q_norm, k_norm) = decoder::head_norms(config, &weights.pp("self_attn"))?;
            let layer = decoder::pre_norm_layer(config, number, weights, params, biases)?;
            Ok(PreNormLayer { self_attn: layer.self_attn.with_norms(q_norm, k_norm), ..layer })
        })?;
        Ok(Self(lm))
    }
}

impl Model for Qwen3 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
