//! Phi-3, Phi-3.5 and Phi-4-mini: Llama's layers with stacked projections, rotation of a part of each
//! head, and LongRoPE: other frequencies for whole sequences beyond the original context.
//! Source: `modeling_phi3.py` of Hugging Face transformers; arXiv 2404.14219, 2402.13753.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{Attention, CausalLm, GatedMlp, PreNormLayer, RmsNorm};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Phi-3.
#[derive(Debug)]
pub struct Phi3(CausalLm<PreNormLayer>);

impl Architecture for Phi3 {
    type Config = TextConfig;

    const READS: &'static [&'static str] = &["partial_rotary_factor"];

    fn config(file: &Path, json: &Value) -> Result<TextConfig, LoadError> {
        let defaults = json!({
            "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
        });
        TextConfig::parse_with(file, json, defaults)
    }

    fn shape(config: &TextConfig) -> ModelShape {
        decoder::shape(config).with_windows(|_| config.sliding_window)
    }

    fn load(config: &TextConfig, weights: &Weights) -> Result<Self, LoadError> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let (window, activation) = (config.sliding_window, decoder::activation(config)?);
        let params = AttentionParams { window, ..decoder::attention_params(config) };
        let lm = decoder::load(config, weights, |number, weights| {
            let norm = |name| RmsNorm::load(&weights.pp(name), hidden, eps);
            let mlp = GatedMlp::load_stacked(&weights.pp("mlp"), hidden, config.intermediate_size)?;
            let attention = weights.pp("self_attn");
            Ok(PreNormLayer {
                input_layernorm: norm("input_layernorm")?,
                self_attn: Attention::load_stacked(&attention, number, hidden, params)?,
                post_attention_layernorm: norm("post_attention_layernorm")?,
                mlp: mlp.with_activation(activation),
            })
        })?;
        Ok(Self(lm))
    }
}

impl Model for Phi3 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
