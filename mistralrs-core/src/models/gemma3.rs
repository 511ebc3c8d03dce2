//! Gemma 3, text: norms of every query and key head; of six layers five with a window and rotations
//! of their own.
//! Source: `modeling_gemma3.py` of Hugging Face transformers; arXiv 2503.19786.

use super::gemma::{self, GemmaConfig};
use super::{Architecture, Model, ModelShape};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{Attention, AttentionBiases, CausalLm, Rotation, SandwichLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Gemma 3.
#[derive(Debug)]
pub struct Gemma3(pub(super) CausalLm<SandwichLayer>);

impl Architecture for Gemma3 {
    type Config = GemmaConfig;

    const READS: &'static [&'static str] = gemma::READS;

    fn config(file: &Path, json: &Value) -> Result<GemmaConfig, LoadError> {
        // The files of the larger ones are silent on most of this.
        let defaults = json!({
            "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4,
            "vocab_size": 262_208, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6,
            "max_position_embeddings": 131_072, "tie_word_embeddings": true,
            "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
        });
        GemmaConfig::parse(file, json, defaults)
    }

    fn shape(config: &GemmaConfig) -> ModelShape {
        config.shape()
    }

    fn load(config: &GemmaConfig, weights: &Weights) -> Result<Self, LoadError> {
        let (text, hidden) = (&config.text, config.text.hidden_size);
        let biases = AttentionBiases { qkv: text.attention_bias, output: text.attention_bias };
        let lm = gemma::load(config, weights, |number, weights| {
            let norm = |name| gemma::norm(config, &weights.pp(name), text.head_dim);
            let params = config.attention_params(number);
            let rotation = if params.window.is_some() { Rotation::Local } else { Rotation::Global };
            let attention = Attention::load(weights, number, hidden, params, biases)?;
            Ok(attention.with_norms(norm("q_norm")?, norm("k_norm")?).with_rotation(rotation))
        })?;
        Ok(Self(lm))
    }
}

impl Model for Gemma3 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
