//! Mixtral: Mistral's layers with a mixture of experts in place of the MLP.
//! Source: `modeling_mixtral.py` of Hugging Face transformers; arXiv 2401.04088.

use super::moe::{self, Keys, MoeConfig};
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{
    Attention, AttentionBiases, CausalLm, PreNormLayer, Routing, Scores, SparseMoe,
};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Mixtral.
#[derive(Debug)]
pub struct Mixtral(CausalLm<PreNormLayer<Attention, SparseMoe>>);

impl Architecture for Mixtral {
    type Config = MoeConfig;

    fn config(file: &Path, json: &Value) -> Result<MoeConfig, LoadError> {
        let defaults = json!({
            "num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
            "rope_theta": 1e6, "num_local_experts": 8, "num_experts_per_tok": 2,
            "intermediate_size": 14336,
        });
        let keys = Keys::new(file, json, defaults);
        let text = keys.text()?;
        let routing = keys.routing(Routing {
            experts: keys.size(&["num_local_experts"])?,
            top_k: keys.size(&["num_experts_per_tok"])?,
            scores: Scores::Softmax,
            corrected: false,
            groups: None,
            normalize: true,
            scale: 1.0,
        })?;
        Ok(MoeConfig { routing, intermediate: text.intermediate_size, shared: 0, text })
    }

    fn shape(config: &MoeConfig) -> ModelShape {
        config.shape().with_windows(|_| config.text.sliding_window)
    }

    fn load(config: &MoeConfig, weights: &Weights) -> Result<Self, LoadError> {
        let MoeConfig { text, routing, .. } = config;
        let hidden = text.hidden_size;
        let params =
            AttentionParams { window: text.sliding_window, ..decoder::attention_params(text) };
        let biases = AttentionBiases { qkv: false, output: false };
        let lm = decoder::load(text, weights, |number, weights| {
            let attention = weights.pp("self_attn");
            let attention = Attention::load(&attention, number, hidden, params, biases)?;
            // The hub's name, and that of transformers 5.
            let older = weights.pp("block_sparse_moe");
            let mlp = if older.pp("gate").contains("weight") { older } else { weights.pp("mlp") };
            let mlp = SparseMoe::load(&mlp, hidden, config.intermediate, routing.clone(), None)?;
            moe::layer(text, weights, attention, mlp)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Mixtral {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
