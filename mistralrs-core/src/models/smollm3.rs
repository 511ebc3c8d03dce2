//! SmolLM3: Llama's layers, of which every fourth does not rotate its queries and keys.
//! Source: `modeling_smollm3.py` of Hugging Face transformers; NoPE, arXiv 2501.18795.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, PreNormLayer, Rotation};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded SmolLM3.
#[derive(Debug)]
pub struct SmolLm3(CausalLm<PreNormLayer>);

/// The keys of a SmolLM3.
#[derive(Debug, Clone, PartialEq)]
pub struct SmolLm3Config {
    text: TextConfig,
    /// Per layer: whether it rotates.
    rotates: Vec<bool>,
}

impl SmolLm3Config {
    /// Without `layer_types`, it is the layers that do not rotate that slide.
    fn window(&self, layer: usize) -> Option<usize> {
        let slides = self.text.slides(layer, !self.rotates(layer));
        self.text.sliding_window.filter(|_| slides && self.text.use_sliding_window == Some(true))
    }

    fn rotates(&self, layer: usize) -> bool {
        self.rotates.get(layer).copied().unwrap_or(true)
    }
}

impl Architecture for SmolLm3 {
    type Config = SmolLm3Config;

    const READS: &'static [&'static str] = &["no_rope_layers"];

    fn config(file: &Path, json: &Value) -> Result<SmolLm3Config, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let defaults = json!({
            "rms_norm_eps": 1e-6, "rope_theta": 2e6, "max_position_embeddings": 32768,
            "num_key_value_heads": 4, "tie_word_embeddings": true,
        });
        let text = TextConfig::parse_with(file, json, defaults)?;
        // Despite its name, the list has a 1 where a layer rotates.
        let rotates: Vec<bool> = match json.get("no_rope_layers").and_then(Value::as_array) {
            Some(list) => list.iter().map(|flag| flag.as_u64() != Some(0)).collect(),
            None => {
                let every = json.get("no_rope_layer_interval").map_or(Some(4), Value::as_u64);
                let every = every.filter(|layers| *layers > 0);
                let every = every.ok_or_else(|| bad("`no_rope_layer_interval` is 0".to_owned()))?;
                (1..=text.num_hidden_layers as u64).map(|layer| layer % every != 0).collect()
            }
        };
        if rotates.len() < text.num_hidden_layers {
            return Err(bad(format!("`no_rope_layers` has {} entries", rotates.len())));
        }
        Ok(SmolLm3Config { text, rotates })
    }

    fn shape(config: &SmolLm3Config) -> ModelShape {
        decoder::shape(&config.text).with_windows(|layer| config.window(layer))
    }

    fn load(config: &SmolLm3Config, weights: &Weights) -> Result<Self, LoadError> {
        let text = &config.text;
        let biases = AttentionBiases { qkv: text.attention_bias, output: text.attention_bias };
        let lm = decoder::load(text, weights, |number, weights| {
            let window = config.window(number);
            let params = AttentionParams { window, ..decoder::attention_params(text) };
            let layer = decoder::pre_norm_layer(text, number, weights, params, biases)?;
            let rotation = if config.rotates(number) { Rotation::Global } else { Rotation::None };
            Ok(PreNormLayer { self_attn: layer.self_attn.with_rotation(rotation), ..layer })
        })?;
        Ok(Self(lm))
    }
}

impl Model for SmolLm3 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_layers_rotate_and_which_slide() {
        let config = |extra: Value| {
            let mut json = json!({
                "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 5, "vocab_size": 8,
                "num_attention_heads": 4, "sliding_window": 9, "use_sliding_window": true,
            });
            json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            SmolLm3::config(Path::new("config.json"), &json)
        };
        let rotates = |extra| config(extra).unwrap().rotates;
        assert_eq!(rotates(json!({})), [true, true, true, false, true]);
        assert_eq!(rotates(json!({"no_rope_layer_interval": 2})), [true, false, true, false, true]);
        let list = json!({"no_rope_layers": [0, 1, 1, 0, 1]});
        assert_eq!(rotates(list.clone()), [false, true, true, false, true]);
        let slides = config(list).unwrap();
        let windows: Vec<_> = (0..5).map(|layer| slides.window(layer)).collect();
        assert_eq!(windows, [Some(9), None, None, Some(9), None]);
        let never = config(json!({"use_sliding_window": false})).unwrap();
        assert!((0..5).all(|layer| never.window(layer).is_none()));
        assert!(config(json!({"no_rope_layers": [1, 1]})).is_err());
        assert!(config(json!({"no_rope_layer_interval": 0})).is_err());
    }
}
