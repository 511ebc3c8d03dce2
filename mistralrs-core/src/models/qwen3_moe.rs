//! Qwen3-MoE: Qwen3's layers, of which some have a mixture of experts in place of the MLP.
//! Source: `modeling_qwen3_moe.py` of Hugging Face transformers; arXiv 2505.09388.

use super::moe::{self, Keys, MoeConfig};
use super::qwen2_moe::SparseLayers;
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{
    Attention, AttentionBiases, CausalLm, FeedForward, GatedMlp, PreNormLayer, SparseMoe,
};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Qwen3-MoE.
#[derive(Debug)]
pub struct Qwen3Moe(pub(super) CausalLm<PreNormLayer<Attention, FeedForward>>);

/// Its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen3MoeConfig {
    moe: MoeConfig,
    sparse: SparseLayers,
}

impl Qwen3MoeConfig {
    /// Unlike Qwen3, either all layers slide or none.
    fn window(&self) -> Option<usize> {
        let text = &self.moe.text;
        text.sliding_window.filter(|_| text.use_sliding_window == Some(true))
    }
}

impl Architecture for Qwen3Moe {
    type Config = Qwen3MoeConfig;

    fn config(file: &Path, json: &Value) -> Result<Qwen3MoeConfig, LoadError> {
        let defaults = json!({
            "num_key_value_heads": 4, "max_position_embeddings": 32768, "intermediate_size": 6144,
            "sliding_window": 4096, "decoder_sparse_step": 1, "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
        });
        let keys = Keys::new(file, json, defaults);
        let experts = match keys.get("num_experts").or_else(|| keys.get("num_local_experts")) {
            None => 128,
            Some(_) => keys.size(&["num_experts", "num_local_experts"])?,
        };
        let routing = keys.routing_by_shares(experts)?;
        let intermediate = keys.size(&["moe_intermediate_size"])?;
        let moe = MoeConfig { text: keys.text()?, routing, intermediate, shared: 0 };
        Ok(Qwen3MoeConfig { moe, sparse: SparseLayers::read(&keys)? })
    }

    fn shape(config: &Qwen3MoeConfig) -> ModelShape {
        config.moe.shape().with_windows(|_| config.window())
    }

    fn load(config: &Qwen3MoeConfig, weights: &Weights) -> Result<Self, LoadError> {
        let MoeConfig { text, routing, intermediate, .. } = &config.moe;
        let hidden = text.hidden_size;
        let params = AttentionParams { window: config.window(), ..decoder::attention_params(text) };
        let biases = AttentionBiases { qkv: text.attention_bias, output: text.attention_bias };
        let lm = decoder::load(text, weights, |number, weights| {
            let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
            let (q_norm, k_norm) = decoder::head_norms(text, &attention)?;
            let attention = Attention::load(&attention, number, hidden, params, biases)?;
            let mlp = if config.sparse.contains(number) {
                let moe = SparseMoe::load(&mlp, hidden, *intermediate, routing.clone(), None)?;
                FeedForward::Sparse(Box::new(moe))
            } else {
                let mlp = GatedMlp::load(&mlp, hidden, text.intermediate_size, false)?;
                FeedForward::Dense(mlp)
            };
            moe::layer(text, weights, attention.with_norms(q_norm, k_norm), mlp)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Qwen3Moe {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
