//! Qwen2-MoE (Qwen1.5-MoE): Qwen2's layers, of which some have a mixture with a shared expert whose
//! share each token's gate decides.
//! Source: `modeling_qwen2_moe.py` of Hugging Face transformers.

use super::moe::{self, Keys, MoeConfig};
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{
    Attention, AttentionBiases, CausalLm, FeedForward, GatedMlp, PreNormLayer, SharedExpert,
    SparseMoe,
};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Qwen2-MoE.
#[derive(Debug)]
pub struct Qwen2Moe(CausalLm<PreNormLayer<Attention, FeedForward>>);

/// Its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen2MoeConfig {
    moe: MoeConfig,
    sparse: SparseLayers,
    qkv_bias: bool,
}

/// Which layers are mixtures.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseLayers {
    step: usize,
    dense: Vec<usize>,
}

impl SparseLayers {
    /// Every `decoder_sparse_step`-th layer but those of `mlp_only_layers`.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn read(keys: &Keys<'_>) -> Result<Self, LoadError> {
        let step = keys.size(&["decoder_sparse_step"])?;
        Ok(Self { step, dense: keys.numbers("mlp_only_layers")? })
    }

    /// Whether this one is.
    pub fn contains(&self, layer: usize) -> bool {
        (layer + 1).is_multiple_of(self.step) && !self.dense.contains(&layer)
    }
}

impl Architecture for Qwen2Moe {
    type Config = Qwen2MoeConfig;

    fn config(file: &Path, json: &Value) -> Result<Qwen2MoeConfig, LoadError> {
        let defaults = json!({
            "num_key_value_heads": 16, "max_position_embeddings": 32768, "intermediate_size": 5632,
            "sliding_window": 4096, "max_window_layers": 28, "decoder_sparse_step": 1,
            "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4, "num_experts": 60,
        });
        let keys = Keys::new(file, json, defaults);
        let routing = keys.routing_by_shares(keys.size(&["num_experts"])?)?;
        let moe = MoeConfig {
            text: keys.text()?,
            routing,
            intermediate: keys.size(&["moe_intermediate_size"])?,
            shared: keys.size(&["shared_expert_intermediate_size"])?,
        };
        let (sparse, qkv_bias) = (SparseLayers::read(&keys)?, keys.flag("qkv_bias", true)?);
        Ok(Qwen2MoeConfig { moe, sparse, qkv_bias })
    }

    fn shape(config: &Qwen2MoeConfig) -> ModelShape {
        config.moe.shape().with_windows(|layer| config.window(layer))
    }

    fn load(config: &Qwen2MoeConfig, weights: &Weights) -> Result<Self, LoadError> {
        let text = &config.moe.text;
        let biases = AttentionBiases { qkv: config.qkv_bias, output: false };
        let lm = decoder::load(text, weights, |number, weights| {
            let window = config.window(number);
            let params = AttentionParams { window, ..decoder::attention_params(text) };
            let attention = weights.pp("self_attn");
            let attention = Attention::load(&attention, number, text.hidden_size, params, biases)?;
            moe::layer(text, weights, attention, config.mlp(number, &weights.pp("mlp"))?)
        })?;
        Ok(Self(lm))
    }
}

impl Qwen2MoeConfig {
    /// `layer_types` decides where the file has it; else every other layer below
    /// `max_window_layers` slides, from the first on.
    fn window(&self, layer: usize) -> Option<usize> {
        let text = &self.moe.text;
        let early = text.max_window_layers.is_some_and(|layers| layer < layers);
        let slides = text.slides(layer, layer.is_multiple_of(2) && early);
        text.sliding_window.filter(|_| slides && text.use_sliding_window == Some(true))
    }

    fn mlp(&self, layer: usize, weights: &Weights) -> Result<FeedForward, LoadError> {
        let MoeConfig { text, routing, intermediate, shared } = &self.moe;
        let hidden = text.hidden_size;
        if !self.sparse.contains(layer) {
            let mlp = GatedMlp::load(weights, hidden, text.intermediate_size, false)?;
            return Ok(FeedForward::Dense(mlp));
        }
        let shared = SharedExpert {
            mlp: GatedMlp::load(&weights.pp("shared_expert"), hidden, *shared, false)?,
            gate: Some(weights.pp("shared_expert_gate").plain(1, hidden)?),
        };
        let moe = SparseMoe::load(weights, hidden, *intermediate, routing.clone(), Some(shared))?;
        Ok(FeedForward::Sparse(Box::new(moe)))
    }
}

impl Model for Qwen2Moe {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: Value) -> Qwen2MoeConfig {
        let mut json = json!({
            "hidden_size": 8, "num_hidden_layers": 6, "vocab_size": 8, "num_attention_heads": 16,
            "head_dim": 4,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Qwen2Moe::config(Path::new("config.json"), &json).unwrap()
    }

    #[test]
    fn silent_keys_are_those_of_the_first_published_model() {
        let config = config(json!({}));
        let moe = &config.moe;
        assert_eq!((moe.routing.experts, moe.routing.top_k, moe.routing.normalize), (60, 4, false));
        assert_eq!((moe.intermediate, moe.shared, config.qkv_bias), (1408, 5632, true));
        assert_eq!(moe.text.intermediate_size, 5632);
        assert!(
            (0..6).all(|layer| config.sparse.contains(layer) && config.window(layer).is_none())
        );
    }

    #[test]
    fn layers_of_each_kind() {
        let kinds = |extra| {
            let config = config(extra);
            (0..6).filter(|layer| config.sparse.contains(*layer)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(json!({"decoder_sparse_step": 2})), [1, 3, 5]);
        assert_eq!(kinds(json!({"decoder_sparse_step": 2, "mlp_only_layers": [3]})), [1, 5]);
        let windows = |extra| {
            let config = config(extra);
            (0..6).filter(|layer| config.window(*layer) == Some(9)).collect::<Vec<_>>()
        };
        let slides =
            json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 4});
        assert_eq!(windows(slides), [0, 2]);
        let kinds = ["full_attention", "sliding_attention"];
        let types: Vec<_> = kinds.into_iter().cycle().take(6).collect();
        let told = json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": types});
        assert_eq!(windows(told), [1, 3, 5]);
    }
}
