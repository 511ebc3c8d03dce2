//! Granite 3: Llama's layers with multipliers on embeddings, scores, residual branches and logits.
//! Source: `modeling_granite.py` of Hugging Face transformers; muP, arXiv 2203.03466.

use super::config::{self, TextConfig};
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{AttentionBiases, CausalLm, DecoderLayer, Logits, PreNormLayer, Step};
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Granite.
#[derive(Debug)]
pub struct Granite(CausalLm<ScaledLayer>);

/// The keys of a Granite.
#[derive(Debug, Clone, PartialEq)]
pub struct GraniteConfig {
    text: TextConfig,
    own: Multipliers,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Multipliers {
    embedding_multiplier: f64,
    attention_multiplier: f64,
    residual_multiplier: f64,
    /// Logits are divided by it.
    logits_scaling: f64,
}

/// A pre-norm layer whose branches are multiplied before they are added.
#[derive(Debug)]
struct ScaledLayer {
    parts: PreNormLayer,
    multiplier: f64,
}

impl DecoderLayer for ScaledLayer {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let parts = &self.parts;
        let attended = parts.self_attn.forward(&parts.input_layernorm.forward(x)?, step)?;
        let x = (x + (attended * self.multiplier)?)?;
        let fed = parts.mlp.forward(&parts.post_attention_layernorm.forward(&x)?)?;
        &x + (fed * self.multiplier)?
    }
}

impl Architecture for Granite {
    type Config = GraniteConfig;

    const READS: &'static [&'static str] =
        &["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"];

    fn config(file: &Path, json: &Value) -> std::result::Result<GraniteConfig, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let defaults = json!({
            "embedding_multiplier": 1.0, "attention_multiplier": 1.0, "residual_multiplier": 1.0,
            "logits_scaling": 1.0,
        });
        let json = config::with_defaults(json, defaults);
        let own = Multipliers::deserialize(&json).map_err(|error| bad(error.to_string()))?;
        if !own.logits_scaling.is_normal() {
            return Err(bad(format!("`logits_scaling` is {}", own.logits_scaling)));
        }
        Ok(GraniteConfig { text: TextConfig::parse(file, &json)?, own })
    }

    fn shape(config: &GraniteConfig) -> ModelShape {
        decoder::shape(&config.text)
    }

    fn load(config: &GraniteConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let GraniteConfig { text, own } = config;
        let biases = AttentionBiases { qkv: text.attention_bias, output: text.attention_bias };
        let scale = own.attention_multiplier as f32;
        let params = AttentionParams { scale, ..decoder::attention_params(text) };
        let lm = decoder::load(text, weights, |number, weights| {
            let parts = decoder::pre_norm_layer(text, number, weights, params, biases)?;
            Ok(ScaledLayer { parts, multiplier: own.residual_multiplier })
        })?;
        let logits = Logits::Scaled(own.logits_scaling.recip());
        Ok(Self(CausalLm { embedding_scale: Some(own.embedding_multiplier), logits, ..lm }))
    }
}

impl Model for Granite {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
