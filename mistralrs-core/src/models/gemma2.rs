//! Gemma 2: capped scores and logits, every second layer with a window.
//! Source: `modeling_gemma2.py` of Hugging Face transformers; arXiv 2408.00118.

use super::gemma::{self, GemmaConfig};
use super::{Architecture, Model, ModelShape};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{Attention, AttentionBiases, CausalLm, SandwichLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Gemma 2.
#[derive(Debug)]
pub struct Gemma2(CausalLm<SandwichLayer>);

impl Architecture for Gemma2 {
    type Config = GemmaConfig;

    const READS: &'static [&'static str] = gemma::READS;

    fn config(file: &Path, json: &Value) -> Result<GemmaConfig, LoadError> {
        let defaults = json!({
            "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6,
            "max_position_embeddings": 8192, "tie_word_embeddings": true,
            "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "sliding_window": 4096, "sliding_window_pattern": 2,
        });
        GemmaConfig::parse(file, json, defaults)
    }

    fn shape(config: &GemmaConfig) -> ModelShape {
        config.shape()
    }

    fn load(config: &GemmaConfig, weights: &Weights) -> Result<Self, LoadError> {
        let (hidden, bias) = (config.text.hidden_size, config.text.attention_bias);
        let biases = AttentionBiases { qkv: bias, output: bias };
        let lm = gemma::load(config, weights, |number, weights| {
            let params = config.attention_params(number);
            Ok(Attention::load(weights, number, hidden, params, biases)?)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Gemma2 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
