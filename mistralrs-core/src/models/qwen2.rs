//! Qwen2 and Qwen2.5: Llama's layers with biases on q, k and v.
//! Source: `modeling_qwen2.py` of Hugging Face transformers; arXiv 2407.10671.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, PreNormLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::Value;
use std::path::Path;

/// A loaded Qwen2.
#[derive(Debug)]
pub struct Qwen2(pub(super) CausalLm<PreNormLayer>);

impl Architecture for Qwen2 {
    type Config = TextConfig;

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        TextConfig::parse(file, json)
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config).with_windows(|layer| decoder::qwen_window(config, layer))
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let biases = AttentionBiases { qkv: true, output: false };
        let lm = decoder::load(config, weights, |number, weights| {
            let params = AttentionParams {
                window: decoder::qwen_window(config, number),
                ..decoder::attention_params(config)
            };
            decoder::pre_norm_layer(config, number, weights, params, biases)
        })?;
        Ok(Self(lm))
    }
}

impl Model for Qwen2 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn windows(extra: &[(&str, Value)]) -> Vec<Option<usize>> {
        let mut json = json!({
            "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 3, "vocab_size": 8,
            "num_attention_heads": 2, "sliding_window": 4, "max_window_layers": 2
        });
        for (key, value) in extra {
            json[*key] = value.clone();
        }
        let config = TextConfig::parse(Path::new("config.json"), &json).unwrap();
        (0..3).map(|layer| decoder::qwen_window(&config, layer)).collect()
    }

    #[test]
    fn a_window_needs_the_switch_and_the_layer() {
        assert_eq!(windows(&[]), [None; 3]);
        assert_eq!(windows(&[("use_sliding_window", json!(false))]), [None; 3]);
        assert_eq!(windows(&[("use_sliding_window", json!(true))]), [None, None, Some(4)]);
        let types = json!(["sliding_attention", "full_attention", "full_attention"]);
        assert_eq!(
            windows(&[("use_sliding_window", json!(true)), ("layer_types", types)]),
            [Some(4), None, None]
        );
    }
}
