//! `config.json` of ModernBERT: which layers see everything, and how each kind turns. Reads its norms'
//! weights, too, whose shape and epsilon it knows; no other.

use crate::error::LoadError;
use crate::layers::RotaryEmbedding;
use crate::layers::encoder::{Activation, LayerNorm};
use crate::models::config::{RopeConfig, RopeScaling};
use crate::models::encoders::{check_sizes, dimension};
use crate::weights::Weights;
use mistralrs_quant::Place;
use serde::Deserialize;
use serde_json::Value;

/// The keys of the family, published defaults filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ModernBertConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_activation: String,
    pub(super) max_position_embeddings: usize,
    norm_eps: f64,
    norm_bias: bool,
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    /// Tokens a windowed layer sees, half of them on each side.
    pub(super) local_attention: usize,
    /// `full_attention` or `sliding_attention` per layer, as transformers 5 writes it.
    layer_types: Option<Vec<String>>,
    /// The older rule: every so many layers, from the first, one sees all.
    global_attn_every_n_layers: usize,
    rope_parameters: Option<RopeParameters>,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    pub(super) classifier_pooling: String,
    pub(super) classifier_bias: bool,
    pub(super) classifier_activation: String,
}

/// Rope per kind of layer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RopeParameters {
    full_attention: Option<RopeOfKind>,
    sliding_attention: Option<RopeOfKind>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RopeOfKind {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

impl Default for ModernBertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50368,
            hidden_size: 768,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            intermediate_size: 1152,
            hidden_activation: "gelu".to_owned(),
            max_position_embeddings: 8192,
            norm_eps: 1e-5,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            local_attention: 128,
            layer_types: None,
            global_attn_every_n_layers: 3,
            rope_parameters: None,
            global_rope_theta: None,
            local_rope_theta: None,
            rope_scaling: None,
            classifier_pooling: "cls".to_owned(),
            classifier_bias: false,
            classifier_activation: "gelu".to_owned(),
        }
    }
}

impl ModernBertConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        dimension("vocab_size", self.vocab_size)?;
        dimension("intermediate_size", self.intermediate_size)?;
        dimension("max_position_embeddings", self.max_position_embeddings)?;
        dimension("global_attn_every_n_layers", self.global_attn_every_n_layers)?;
        dimension("local_attention", self.local_attention)?;
        let (layers, heads) = (self.num_hidden_layers, self.num_attention_heads);
        check_sizes(layers, self.hidden_size, heads)?;
        if !self.hidden_size.is_multiple_of(2 * heads) {
            let hidden = self.hidden_size;
            return Err(format!("`hidden_size` {hidden} gives {heads} heads no even size"));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(format!("`norm_eps` is {}", self.norm_eps));
        }
        for name in [&self.hidden_activation, &self.classifier_activation] {
            Activation::from_name(name)
                .ok_or_else(|| format!("the activation {name} is not supported"))?;
        }
        if let Some(types) = &self.layer_types {
            let known = |ty: &String| ty == "full_attention" || ty == "sliding_attention";
            if types.len() != layers || !types.iter().all(known) {
                return Err(format!(
                    "`layer_types` has to name full_attention or sliding_attention {layers} times"
                ));
            }
        }
        if !["cls", "mean"].contains(&self.classifier_pooling.as_str()) {
            return Err(format!(
                "`classifier_pooling` {} is neither cls nor mean",
                self.classifier_pooling
            ));
        }
        self.check_rope()
    }

    fn check_rope(&self) -> Result<(), String> {
        let parameters = self.rope_parameters.clone().unwrap_or_default();
        for kind in
            [&parameters.full_attention, &parameters.sliding_attention].into_iter().flatten()
        {
            if let Some(other) = kind.rope_type.as_deref().filter(|ty| *ty != "default") {
                return Err(format!("rope scaling `{other}` is not supported here"));
            }
        }
        if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null()) {
            return Err("`rope_scaling` is not supported here".to_owned());
        }
        for sees_all in [true, false] {
            let theta = self.rope_theta(sees_all);
            if !(theta.is_finite() && theta > 0.0) {
                return Err(format!("rope: the base is {theta}, must be positive"));
            }
        }
        Ok(())
    }

    pub(super) fn sees_all(&self, layer: usize) -> bool {
        match self.layer_types.as_ref().and_then(|types| types.get(layer)) {
            Some(kind) => kind == "full_attention",
            None => layer.is_multiple_of(self.global_attn_every_n_layers),
        }
    }

    fn rope_theta(&self, sees_all: bool) -> f64 {
        let parameters = self.rope_parameters.as_ref();
        let (of_kind, old, default) = match sees_all {
            true => (
                parameters.and_then(|p| p.full_attention.as_ref()),
                self.global_rope_theta,
                160_000.0,
            ),
            false => (
                parameters.and_then(|p| p.sliding_attention.as_ref()),
                self.local_rope_theta,
                10_000.0,
            ),
        };
        of_kind.and_then(|kind| kind.rope_theta).or(old).unwrap_or(default)
    }

    pub(super) fn rope(&self, sees_all: bool) -> RotaryEmbedding {
        let rope = RopeConfig {
            theta: self.rope_theta(sees_all),
            scaling: RopeScaling::None,
            partial: 1.0,
        };
        let head_dim = self.hidden_size / self.num_attention_heads;
        RotaryEmbedding::new(rope.inverse_frequencies(head_dim), &Place::default())
    }

    pub(super) fn layer_norm(&self, weights: &Weights) -> Result<LayerNorm, LoadError> {
        LayerNorm::load(weights, self.hidden_size, self.norm_eps, self.norm_bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::encoders::parse;
    use serde_json::json;
    use std::path::Path;

    fn read(json: Value) -> Result<ModernBertConfig, String> {
        parse(Path::new("config.json"), &json, ModernBertConfig::check)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_two_generations_mean_the_same() {
        let old = read(json!({
            "num_hidden_layers": 4, "global_attn_every_n_layers": 2,
            "global_rope_theta": 5000.0, "local_rope_theta": 300.0,
        }));
        let new = read(json!({
            "num_hidden_layers": 4,
            "layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
            },
        }));
        for config in [old.unwrap(), new.unwrap()] {
            assert_eq!(
                (0..4).map(|i| config.sees_all(i)).collect::<Vec<_>>(),
                [true, false, true, false]
            );
            assert_eq!([config.rope_theta(true), config.rope_theta(false)], [5000.0, 300.0]);
        }
        let silent = read(json!({})).unwrap();
        assert_eq!([silent.rope_theta(true), silent.rope_theta(false)], [160_000.0, 10_000.0]);
        assert!(silent.sees_all(0) && !silent.sees_all(1) && silent.sees_all(3));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, word) in [
            (json!({"num_hidden_layers": 2, "layer_types": ["full_attention"]}), "layer_types"),
            (json!({"num_hidden_layers": 1, "layer_types": ["x"]}), "layer_types"),
            (json!({"num_attention_heads": 5}), "5 heads"),
            (json!({"hidden_size": 0}), "hidden_size"),
            (json!({"global_attn_every_n_layers": 0}), "global_attn_every_n_layers"),
            (json!({"global_rope_theta": 0.0}), "rope"),
            (json!({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}), "yarn"),
            (json!({"rope_scaling": {"type": "linear"}}), "rope_scaling"),
            (json!({"classifier_pooling": "max"}), "classifier_pooling"),
            (json!({"hidden_activation": "snake"}), "snake"),
        ] {
            let error = read(json.clone()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
