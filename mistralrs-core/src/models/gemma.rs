//! What Gemma 2 and Gemma 3 have in common: norms that multiply by 1 + weight on both sides of
//! attention and MLP, scaled embeddings, capped logits, windows by a period.
//! Source: `modeling_gemma2.py` of Hugging Face transformers; arXiv 2408.00118, 2503.19786.

use super::config::{self, TextConfig};
use super::{ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::layers::{Attention, CausalLm, Logits, RmsNorm, SandwichLayer};
use crate::weights::Weights;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Keys of the family that change the arithmetic.
pub const READS: &[&str] =
    &["query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"];

/// The keys of a Gemma, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct GemmaConfig {
    /// The common ones.
    pub text: TextConfig,
    own: OwnKeys,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct OwnKeys {
    /// Scores are divided by its root.
    query_pre_attn_scalar: f64,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    /// Without `layer_types`, each so manyth layer sees everything.
    sliding_window_pattern: usize,
}

impl GemmaConfig {
    /// Reads a file; `defaults` must have every key of the family's own.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(file: &Path, json: &Value, defaults: Value) -> Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let json = config::with_defaults(json, defaults);
        let own = OwnKeys::deserialize(&json).map_err(|error| bad(error.to_string()))?;
        let caps = [own.attn_logit_softcapping, own.final_logit_softcapping];
        let numbers = caps.into_iter().flatten().chain([own.query_pre_attn_scalar]);
        if numbers.clone().any(|number| !(number.is_finite() && number > 0.0)) {
            return Err(bad(format!("{READS:?}: all must be positive")));
        }
        Ok(Self { text: TextConfig::parse(file, &json)?, own })
    }

    /// The sizes.
    pub fn shape(&self) -> ModelShape {
        decoder::shape(&self.text).with_windows(|layer| self.window(layer))
    }

    /// The window of a layer, if it has one.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let periodic = (layer + 1).checked_rem(self.own.sliding_window_pattern) != Some(0);
        self.text.sliding_window.filter(|_| self.text.slides(layer, periodic))
    }

    /// The attention of a layer.
    pub fn attention_params(&self, layer: usize) -> AttentionParams {
        AttentionParams {
            scale: self.own.query_pre_attn_scalar.sqrt().recip() as f32,
            window: self.window(layer),
            softcap: self.own.attn_logit_softcapping.map(|cap| cap as f32),
            ..decoder::attention_params(&self.text)
        }
    }

    /// √hidden as the type of the weights holds it: transformers multiplies in that type.
    fn embedding_scale(&self) -> candle_core::Result<f64> {
        let dtype = match self.text.dtype.as_deref() {
            Some("bfloat16") => DType::BF16,
            Some("float16") => DType::F16,
            _ => DType::F32,
        };
        let exact = (self.text.hidden_size as f64).sqrt() as f32;
        let held = Tensor::new(exact, &Device::Cpu)?.to_dtype(dtype)?.to_dtype(DType::F32)?;
        held.to_scalar::<f32>().map(f64::from)
    }
}

/// The module's `weight` `[width]` as a norm that multiplies by 1 + weight.
///
/// # Errors
/// When it is missing or misshapen.
pub fn norm(config: &GemmaConfig, weights: &Weights, width: usize) -> Result<RmsNorm, LoadError> {
    let weight = (weights.tensor("weight", &[width])? + 1.0)?;
    Ok(RmsNorm::new(weight, config.text.rms_norm_eps))
}

/// A whole model by way of each layer's attention.
///
/// # Errors
/// When a tensor is missing or misshapen, or the activation is unknown.
pub fn load(
    config: &GemmaConfig,
    weights: &Weights,
    attention: impl Fn(usize, &Weights) -> Result<Attention, LoadError>,
) -> Result<CausalLm<SandwichLayer>, LoadError> {
    let text = &config.text;
    let last = norm(config, &weights.pp("model").pp("norm"), text.hidden_size)?;
    let lm = decoder::load_around(text, weights, last, |number, weights| {
        let norm = |name| norm(config, &weights.pp(name), text.hidden_size);
        Ok(SandwichLayer {
            pre_attention: norm("input_layernorm")?,
            self_attn: attention(number, &weights.pp("self_attn"))?,
            post_attention: norm("post_attention_layernorm")?,
            pre_mlp: norm("pre_feedforward_layernorm")?,
            mlp: decoder::mlp(text, &weights.pp("mlp"))?,
            post_mlp: norm("post_feedforward_layernorm")?,
        })
    })?;
    let logits = config.own.final_logit_softcapping.map_or(Logits::Plain, Logits::Capped);
    Ok(CausalLm { embedding_scale: Some(config.embedding_scale()?), logits, ..lm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(extra: Value) -> GemmaConfig {
        let mut json = json!({
            "hidden_size": 1152, "intermediate_size": 8, "num_hidden_layers": 4, "vocab_size": 8,
            "num_attention_heads": 4, "sliding_window": 512, "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 256,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        GemmaConfig::parse(Path::new("config.json"), &json, json!({})).unwrap()
    }

    #[test]
    fn embeddings_are_scaled_by_what_the_type_holds() {
        let scale = |dtype: Value| config(json!({"dtype": dtype})).embedding_scale().unwrap();
        assert_eq!(scale(json!("bfloat16")), 34.0);
        assert_eq!(scale(json!("float32")), f64::from(1152f32.sqrt()));
        assert_eq!(scale(json!(null)), f64::from(1152f32.sqrt()));
        assert!((scale(json!("float16")) - 33.941).abs() < 0.016);
    }

    #[test]
    fn windows_by_period_or_by_list() {
        let windows = |config: GemmaConfig| (0..4).map(|l| config.window(l)).collect::<Vec<_>>();
        let some = Some(512);
        assert_eq!(windows(config(json!({}))), [some, some, None, some]);
        let types = ["full_attention", "sliding_attention", "full_attention", "full_attention"];
        assert_eq!(windows(config(json!({"layer_types": types}))), [None, some, None, None]);
        assert_eq!(windows(config(json!({"sliding_window": null}))), [None; 4]);
    }

    #[test]
    fn a_cap_of_nothing_is_refused() {
        let json = json!({"query_pre_attn_scalar": 1, "sliding_window_pattern": 1,
            "final_logit_softcapping": 0.0});
        assert!(GemmaConfig::parse(Path::new("config.json"), &json, json!({})).is_err());
    }
}
