//! ModernBERT: pre-norm layers without biases, rope, GeGLU; most layers see only a window, every
//! third sees all and turns slower.
//! Source: arXiv 2412.13663; `modeling_modernbert.py` of Hugging Face transformers.

use super::{
    Encoder, EncoderArchitecture, EncoderShape, check_labels, check_sizes, dimension, parse, root,
};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::kv_cache::KvSpec;
use crate::layers::encoder::{
    Activation, ClassificationHead, EncoderAttention, LayerNorm, Pooling,
};
use crate::layers::{RopeTables, RotaryEmbedding};
use crate::models::ModelShape;
use crate::models::config::{RopeConfig, RopeScaling};
use crate::weights::Weights;
use candle_core::{Device, Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear, QuantMethod};
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const PROBE: &str = "embeddings.tok_embeddings.weight";

/// A loaded ModernBERT.
pub struct ModernBert {
    embeddings: Arc<dyn QuantMethod>,
    norm: LayerNorm,
    global_rope: RotaryEmbedding,
    local_rope: RotaryEmbedding,
    layers: Vec<ModernBertLayer>,
    final_norm: LayerNorm,
}

/// The keys of the family, published defaults filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ModernBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_activation: String,
    max_position_embeddings: usize,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    /// Tokens a windowed layer sees, half of them on each side.
    local_attention: usize,
    /// `full_attention` or `sliding_attention` per layer, as transformers 5 writes it.
    layer_types: Option<Vec<String>>,
    /// The older rule: every so many layers, from the first, one sees all.
    global_attn_every_n_layers: usize,
    rope_parameters: Option<RopeParameters>,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    classifier_pooling: String,
    classifier_bias: bool,
    classifier_activation: String,
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
    fn check(&self) -> std::result::Result<(), String> {
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

    fn check_rope(&self) -> std::result::Result<(), String> {
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

    fn sees_all(&self, layer: usize) -> bool {
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

    fn rope(&self, sees_all: bool) -> RotaryEmbedding {
        let rope = RopeConfig {
            theta: self.rope_theta(sees_all),
            scaling: RopeScaling::None,
            partial: 1.0,
        };
        let head_dim = self.hidden_size / self.num_attention_heads;
        RotaryEmbedding::new(rope.inverse_frequencies(head_dim), &Device::Cpu)
    }

    fn layer_norm(&self, weights: &Weights) -> std::result::Result<LayerNorm, LoadError> {
        LayerNorm::load(weights, self.hidden_size, self.norm_eps, self.norm_bias)
    }
}

impl EncoderArchitecture for ModernBert {
    type Config = ModernBertConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<ModernBertConfig, LoadError> {
        parse(file, json, ModernBertConfig::check)
    }

    fn shape(config: &ModernBertConfig) -> EncoderShape {
        let hidden = config.hidden_size;
        EncoderShape {
            hidden,
            model: ModelShape {
                kv: KvSpec { layers: Vec::new() },
                vocab_size: config.vocab_size,
                context: config.max_position_embeddings,
                short_context: None,
                window: None,
                // The residual, its norm and a layer's output; then q|k|v, its parts and the
                // attended, or the MLP's two and theirs.
                activations_per_token: 3 * hidden + (7 * hidden).max(5 * config.intermediate_size),
            },
        }
    }

    fn load(config: &ModernBertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let model = root(weights, "model", PROBE);
        let embeddings = model.pp("embeddings");
        let layers = model.pp("layers");
        Ok(Self {
            embeddings: embeddings
                .pp("tok_embeddings")
                .embedding(config.vocab_size, config.hidden_size)?,
            norm: config.layer_norm(&embeddings.pp("norm"))?,
            global_rope: config.rope(true),
            local_rope: config.rope(false),
            layers: (0..config.num_hidden_layers)
                .map(|number| ModernBertLayer::load(config, number, &layers.pp(number)))
                .collect::<std::result::Result<_, LoadError>>()?,
            final_norm: config.layer_norm(&model.pp("final_norm"))?,
        })
    }
}

impl Encoder for ModernBert {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        let positions = batch.positions();
        let (global, local) =
            (self.global_rope.tables(&positions)?, self.local_rope.tables(&positions)?);
        let ids = Tensor::new(batch.token_ids.as_slice(), &Device::Cpu)?;
        let mut x = self.norm.forward(&self.embeddings.rows(&ids)?)?; // [tokens, hidden]
        for layer in &self.layers {
            let rope = if layer.attention.params.window.is_none() { &global } else { &local };
            x = layer.forward(&x, &batch.spans, rope)?;
        }
        self.final_norm.forward(&x)
    }
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
struct ModernBertLayer {
    /// The first layer has none: the embedding's norm stands right before it.
    attention_norm: Option<LayerNorm>,
    attention: EncoderAttention,
    mlp_norm: LayerNorm,
    /// The activated, and its factor.
    wi: MergedLinear,
    activation: Activation,
    wo: Linear,
}

impl ModernBertLayer {
    fn load(
        config: &ModernBertConfig,
        number: usize,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let head_dim = hidden / config.num_attention_heads;
        let attention = weights.pp("attn");
        let mlp = weights.pp("mlp");
        let norm = || config.layer_norm(&weights.pp("attn_norm"));
        let qkv = attention.pp("Wqkv").linear(3 * hidden, hidden, config.attention_bias)?;
        let wi = mlp.pp("Wi").linear(2 * inner, hidden, config.mlp_bias)?;
        Ok(Self {
            attention_norm: (number > 0).then(norm).transpose()?,
            attention: EncoderAttention {
                qkv: MergedLinear::stacked(qkv, vec![hidden; 3]),
                output: attention.pp("Wo").linear(hidden, hidden, config.attention_bias)?,
                params: AttentionParams {
                    num_heads: config.num_attention_heads,
                    num_kv_heads: config.num_attention_heads,
                    head_dim,
                    scale: 1.0 / (head_dim as f32).sqrt(),
                    // Half on each side, itself besides.
                    window: (!config.sees_all(number)).then_some(config.local_attention / 2 + 1),
                    softcap: None,
                },
            },
            mlp_norm: config.layer_norm(&weights.pp("mlp_norm"))?,
            wi: MergedLinear::stacked(wi, vec![inner; 2]),
            activation: Activation::from_name(&config.hidden_activation)
                .unwrap_or(Activation::Gelu),
            wo: mlp.pp("Wo").linear(hidden, inner, config.mlp_bias)?,
        })
    }

    fn forward(&self, x: &Tensor, spans: &[Range<usize>], rope: &RopeTables) -> Result<Tensor> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let x = (x + self.attention.forward(&normed, spans, Some(rope))?)?;
        let parts = self.wi.forward(&self.mlp_norm.forward(&x)?)?;
        let [gate, factor] = parts.as_slice() else { bail!("gate and factor are two") };
        let inner = (self.activation.forward(gate.clone())? * factor)?;
        &x + self.wo.forward(&inner)?
    }
}

/// `head.dense` → activation → `head.norm` → `classifier`.
///
/// # Errors
/// When a tensor is missing or misshapen, or there are several labels.
pub fn head(
    file: &Path,
    json: &Value,
    weights: &Weights,
) -> std::result::Result<ClassificationHead, LoadError> {
    let config = ModernBert::config(file, json)?;
    check_labels(file, json)?;
    let (hidden, head) = (config.hidden_size, weights.pp("head"));
    Ok(ClassificationHead {
        pooling: if config.classifier_pooling == "mean" { Pooling::Mean } else { Pooling::Cls },
        dense: head.pp("dense").linear(hidden, hidden, config.classifier_bias)?,
        activation: Activation::from_name(&config.classifier_activation)
            .unwrap_or(Activation::Gelu),
        norm: Some(config.layer_norm(&head.pp("norm"))?),
        classifier: weights.pp("classifier").linear(1, hidden, true)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: Value) -> std::result::Result<ModernBertConfig, String> {
        ModernBert::config(Path::new("config.json"), &json).map_err(|error| error.to_string())
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
