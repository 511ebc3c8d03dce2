//! OLMo 2: norms behind attention and MLP only, and one norm over all query heads, one over all keys.
//! Source: `modeling_olmo2.py` of Hugging Face transformers; arXiv 2501.00656.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{Attention, AttentionBiases, CausalLm, DecoderLayer, GatedMlp, RmsNorm, Step};
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use serde_json::{Value, json};
use std::path::Path;

/// A loaded OLMo 2.
#[derive(Debug)]
pub struct Olmo2(CausalLm<PostNormLayer>);

/// `x + norm(attention(x))`, then `x + norm(mlp(x))`.
#[derive(Debug)]
struct PostNormLayer {
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: RmsNorm,
}

impl DecoderLayer for PostNormLayer {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let attended = self.self_attn.forward(x, step)?;
        let x = (x + self.post_attention_layernorm.forward(&attended)?)?;
        &x + self.post_feedforward_layernorm.forward(&self.mlp.forward(&x)?)?
    }
}

impl Architecture for Olmo2 {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<TextConfig, LoadError> {
        TextConfig::parse_with(file, json, json!({"rms_norm_eps": 1e-5}))
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config)
    }

    fn load(config: &TextConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let biases = AttentionBiases { qkv: config.attention_bias, output: config.attention_bias };
        let params = decoder::attention_params(config);
        let (q, kv) = (params.num_heads * params.head_dim, params.num_kv_heads * params.head_dim);
        let lm = decoder::load(config, weights, |number, weights| {
            let norm = |name| RmsNorm::load(&weights.pp(name), hidden, eps);
            let attention = weights.pp("self_attn");
            let q_norm = RmsNorm::load(&attention.pp("q_norm"), q, eps)?;
            let k_norm = RmsNorm::load(&attention.pp("k_norm"), kv, eps)?;
            let attention = Attention::load(&attention, number, hidden, params, biases)?;
            Ok(PostNormLayer {
                self_attn: attention.with_norms(q_norm, k_norm),
                post_attention_layernorm: norm("post_attention_layernorm")?,
                mlp: decoder::mlp(config, &weights.pp("mlp"))?,
                post_feedforward_layernorm: norm("post_feedforward_layernorm")?,
            })
        })?;
        Ok(Self(lm))
    }
}

impl Model for Olmo2 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
