//! GLM-4 (0414): norms on both sides, rotation of neighbors in the first half of each head, gate and
//! up stacked.
//! Source: `modeling_glm4.py` of Hugging Face transformers; arXiv 2406.12793.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{Attention, AttentionBiases, CausalLm, GatedMlp, RmsNorm, SandwichLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded GLM-4.
#[derive(Debug)]
pub struct Glm4(CausalLm<SandwichLayer>);

impl Architecture for Glm4 {
    type Config = TextConfig;

    const READS: &'static [&'static str] = &["partial_rotary_factor"];

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        let defaults = json!({
            "head_dim": 128, "num_key_value_heads": 2, "rms_norm_eps": 1.5625e-7,
            "max_position_embeddings": 131_072, "partial_rotary_factor": 0.5, "attention_bias": true,
        });
        TextConfig::parse_with(file, json, defaults)
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config)
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let biases = AttentionBiases { qkv: config.attention_bias, output: false };
        let (params, activation) =
            (decoder::attention_params(config), decoder::activation(config)?);
        let lm = decoder::load(config, weights, |number, weights| {
            let norm = |name| RmsNorm::load(&weights.pp(name), hidden, eps);
            let mlp = GatedMlp::load_stacked(&weights.pp("mlp"), hidden, config.intermediate_size)?;
            let attention = weights.pp("self_attn");
            Ok(SandwichLayer {
                pre_attention: norm("input_layernorm")?,
                self_attn: Attention::load(&attention, number, hidden, params, biases)?,
                post_attention: norm("post_self_attn_layernorm")?,
                pre_mlp: norm("post_attention_layernorm")?,
                mlp: mlp.with_activation(activation),
                post_mlp: norm("post_mlp_layernorm")?,
            })
        })?;
        Ok(Self(CausalLm { rope: lm.rope.interleaved(), ..lm }))
    }
}

impl Model for Glm4 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
