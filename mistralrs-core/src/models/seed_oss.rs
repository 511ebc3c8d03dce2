//! Seed-OSS: Llama's layers with biases on q, k and v, and on the output if its own key says so.
//! Source: `modeling_seed_oss.py` of Hugging Face transformers.

use super::config::{TextConfig, with_defaults};
use super::{Architecture, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, PreNormLayer};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Seed-OSS.
#[derive(Debug)]
pub struct SeedOss(CausalLm<PreNormLayer>);

/// The common keys, and the output's bias.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedOssConfig {
    text: TextConfig,
    output_bias: bool,
}

impl Architecture for SeedOss {
    type Config = SeedOssConfig;

    fn config(file: &Path, json: &Value) -> Result<SeedOssConfig, LoadError> {
        let defaults = json!({
            "num_key_value_heads": 8, "head_dim": 128, "attention_bias": true,
            "attention_out_bias": false, "max_position_embeddings": 524_288,
        });
        let json = with_defaults(json, defaults);
        let output_bias = json["attention_out_bias"].as_bool().unwrap_or(false);
        Ok(SeedOssConfig { text: TextConfig::parse(file, &json)?, output_bias })
    }

    fn shape(config: &SeedOssConfig) -> ModelShape {
        decoder::shape(&config.text)
    }

    fn load(config: &SeedOssConfig, weights: &Weights) -> Result<Self, LoadError> {
        let text = &config.text;
        let biases = AttentionBiases { qkv: text.attention_bias, output: config.output_bias };
        let lm = decoder::load(text, weights, |number, weights| {
            let params = decoder::attention_params(text);
            decoder::pre_norm_layer(text, number, weights, params, biases)
        })?;
        Ok(Self(lm))
    }
}

impl Model for SeedOss {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
