//! What the `config.json` of nearly every decoder has in common, in the older spelling and in the
//! one transformers 5 writes (`rope_parameters`, `dtype`).
//!
//! Knows JSON only: no files, no tensors. Formats: the configuration classes of Hugging Face
//! transformers; llama3 rope scaling as in its `modeling_rope_utils`.

use crate::error::LoadError;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::path::Path;

/// No dimension of a model is larger; products of two stay far from overflow.
pub(super) const LARGEST_DIMENSION: usize = 1 << 28;

/// The keys of a text model, defaults filled in, ranges checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// `LlamaForCausalLM` and the like.
    pub architectures: Vec<String>,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Context the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Name of the MLP's activation.
    pub hidden_act: String,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// The output matrix is the embedding. `false` when the file is silent, as in Llama and Qwen2.
    pub tie_word_embeddings: bool,
    /// Biases on the attention projections (Llama; Qwen2 has its own rule).
    pub attention_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// Beginning-of-sequence id.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence ids of this file; `generation_config.json` may know more.
    pub eos_token_ids: Vec<u32>,
    /// Type the weights were saved in: `bfloat16`.
    pub dtype: Option<String>,
    /// Window of sliding attention, whether or not `use_sliding_window` switches it on.
    pub sliding_window: Option<usize>,
    /// Qwen2's switch for `sliding_window`.
    pub use_sliding_window: Option<bool>,
    /// Qwen2: layers below this one attend to everything.
    pub max_window_layers: Option<usize>,
    /// transformers 5: `full_attention` or `sliding_attention` per layer; may be empty.
    pub layer_types: Vec<String>,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: RopeScaling,
}

/// How the rotary frequencies are stretched for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All divided by one factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept, a ramp between.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths longer than `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context before stretching, in tokens.
        original_context: usize,
    },
    /// Each divided by its own factor: what a GGUF file stores instead of the rule.
    Factors(
        /// One per frequency, highest frequency first.
        Vec<f64>,
    ),
}

impl TextConfig {
    /// Reads the JSON of `file`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(file: &Path, json: &Value) -> Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let raw = RawConfig::deserialize(json).map_err(|error| bad(error.to_string()))?;
        raw.check().map_err(bad)
    }
}

impl RopeConfig {
    /// One frequency per pair of the rotated dimensions, in radians per token:
    /// `[rotary_dim / 2]`, highest first.
    pub fn inverse_frequencies(&self, rotary_dim: usize) -> Vec<f32> {
        (0..rotary_dim / 2)
            .map(|pair| {
                let plain = self.theta.powf(-((2 * pair) as f64) / rotary_dim as f64);
                self.scaling.apply(pair, plain) as f32
            })
            .collect()
    }
}

impl RopeScaling {
    fn apply(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Factors(factors) => frequency / factors.get(pair).copied().unwrap_or(1.0),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = *original_context as f64 * frequency / std::f64::consts::TAU;
                // How many turns the original context makes decides how much of the plain
                // frequency is kept: all from `high` turns on, nothing up to `low` turns.
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = kept.clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            }
        }
    }
}

/// Deserializes what may be one id, a list of ids or null.
///
/// # Errors
/// When it is something else.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a token id, a list of token ids or null")]
    enum OneOrMany {
        One(u32),
        Many(Vec<u32>),
    }
    Ok(match Option::<OneOrMany>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    })
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    #[serde(default = "default_context")]
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    #[serde(default = "default_act")]
    hidden_act: String,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    /// Some configurations give a list; the first is the one.
    #[serde(default, deserialize_with = "one_or_many")]
    bos_token_id: Vec<u32>,
    #[serde(default, deserialize_with = "one_or_many")]
    eos_token_id: Vec<u32>,
    dtype: Option<String>,
    torch_dtype: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<Value>,
}

fn default_context() -> usize {
    2048
}

fn default_eps() -> f64 {
    1e-6
}

fn default_act() -> String {
    "silu".to_owned()
}

/// `rope_scaling` and `rope_parameters` at once: the latter holds the base as well.
#[derive(Deserialize)]
struct RawRope {
    /// The older name of `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,
    /// Ours: see [`RopeScaling::Factors`].
    factors: Option<Vec<f64>>,
    /// transformers 5 nests one object per kind of layer for some families.
    full_attention: Option<Value>,
    sliding_attention: Option<Value>,
}

impl RawConfig {
    fn check(self) -> Result<TextConfig, String> {
        if let Some(quantization) = &self.quantization_config {
            let method =
                quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            return Err(format!(
                "the weights are quantized by `{method}` (quantization_config), which is not supported; \
                 take the plain weights or a GGUF file"
            ));
        }
        let dimension = |key: &str, value: usize| match value {
            1..=LARGEST_DIMENSION => Ok(value),
            _ => Err(format!("`{key}` is {value}, outside 1..={LARGEST_DIMENSION}")),
        };
        let hidden_size = dimension("hidden_size", self.hidden_size)?;
        let heads = dimension("num_attention_heads", self.num_attention_heads)?;
        let kv_heads = dimension("num_key_value_heads", self.num_key_value_heads.unwrap_or(heads))?;
        if heads % kv_heads != 0 {
            return Err(format!(
                "`num_attention_heads` is {heads}, no multiple of `num_key_value_heads` {kv_heads}"
            ));
        }
        if self.head_dim.is_none() && hidden_size % heads != 0 {
            return Err(format!(
                "without `head_dim`, `hidden_size` {hidden_size} must be a multiple of \
                 `num_attention_heads` {heads}"
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("`rms_norm_eps` is {}", self.rms_norm_eps));
        }
        let head_dim = dimension("head_dim", self.head_dim.unwrap_or(hidden_size / heads))?;
        Ok(TextConfig {
            hidden_size,
            intermediate_size: dimension("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: dimension("num_hidden_layers", self.num_hidden_layers)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            vocab_size: dimension("vocab_size", self.vocab_size)?,
            max_position_embeddings: dimension(
                "max_position_embeddings",
                self.max_position_embeddings,
            )?,
            rope: self.rope(head_dim)?,
            rms_norm_eps: self.rms_norm_eps,
            hidden_act: self.hidden_act,
            architectures: self.architectures.unwrap_or_default(),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            attention_bias: self.attention_bias.unwrap_or(false),
            mlp_bias: self.mlp_bias.unwrap_or(false),
            bos_token_id: self.bos_token_id.first().copied(),
            eos_token_ids: self.eos_token_id,
            dtype: self.dtype.or(self.torch_dtype),
            sliding_window: self.sliding_window,
            use_sliding_window: self.use_sliding_window,
            max_window_layers: self.max_window_layers,
            layer_types: self.layer_types.unwrap_or_default(),
        })
    }

    /// The newer spelling wins where a file has both.
    fn rope(&self, head_dim: usize) -> Result<RopeConfig, String> {
        let raw = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let theta = raw.and_then(|raw| raw.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        let theta = positive("rope_theta", Some(theta))?;
        let partial = raw.and_then(|raw| raw.partial_rotary_factor).or(self.partial_rotary_factor);
        if let Some(partial) = partial.filter(|partial| *partial != 1.0) {
            return Err(format!("`partial_rotary_factor` {partial} is not supported"));
        }
        let Some(raw) = raw else {
            return Ok(RopeConfig { theta, scaling: RopeScaling::None });
        };
        let original =
            raw.original_max_position_embeddings.or(self.original_max_position_embeddings);
        Ok(RopeConfig { theta, scaling: raw.scaling(original, head_dim)? })
    }
}

impl RawRope {
    fn scaling(&self, original: Option<usize>, head_dim: usize) -> Result<RopeScaling, String> {
        if self.full_attention.is_some() || self.sliding_attention.is_some() {
            return Err("rope parameters per kind of layer are not supported".to_owned());
        }
        match self.rope_type.as_deref().or(self.kind.as_deref()).unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: positive("factor", self.factor)? }),
            "llama3" => {
                let low = positive("low_freq_factor", self.low_freq_factor)?;
                let high = positive("high_freq_factor", self.high_freq_factor)?;
                if low >= high {
                    return Err(format!(
                        "rope scaling: `low_freq_factor` {low} must be less than `high_freq_factor` {high}"
                    ));
                }
                Ok(RopeScaling::Llama3 {
                    factor: positive("factor", self.factor)?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_context: original
                        .filter(|tokens| *tokens > 0)
                        .ok_or("rope scaling: `original_max_position_embeddings` is missing")?,
                })
            }
            "factors" => {
                let factors = self.factors.clone().unwrap_or_default();
                if factors.len() != head_dim / 2 {
                    return Err(format!(
                        "rope scaling: {} factors for {} frequencies",
                        factors.len(),
                        head_dim / 2
                    ));
                }
                factors
                    .iter()
                    .try_for_each(|factor| positive("factors", Some(*factor)).map(drop))?;
                Ok(RopeScaling::Factors(factors))
            }
            other => {
                Err(format!("rope scaling `{other}` is not supported; supported: linear, llama3"))
            }
        }
    }
}

fn positive(key: &str, value: Option<f64>) -> Result<f64, String> {
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(value) => Err(format!("rope: `{key}` is {value}, must be positive")),
        None => Err(format!("rope scaling: `{key}` is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 172,
            "num_hidden_layers": 5, "num_attention_heads": 8, "vocab_size": 512,
        })
    }

    fn parse(extra: Value) -> Result<TextConfig, String> {
        let mut json = base();
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        TextConfig::parse(Path::new("config.json"), &json).map_err(|error| error.to_string())
    }

    fn scaling(extra: Value) -> Result<RopeScaling, String> {
        parse(extra).map(|config| config.rope.scaling)
    }

    #[test]
    fn silent_keys_get_their_defaults() {
        let config = parse(json!({})).unwrap();
        assert_eq!((config.num_key_value_heads, config.head_dim), (8, 8));
        assert_eq!(config.rope, RopeConfig { theta: 10_000.0, scaling: RopeScaling::None });
        assert_eq!((config.rms_norm_eps, config.hidden_act.as_str()), (1e-6, "silu"));
        assert_eq!((config.max_position_embeddings, config.tie_word_embeddings), (2048, false));
        assert_eq!((config.bos_token_id, config.eos_token_ids, config.dtype), (None, vec![], None));
        let nulls = parse(json!({
            "head_dim": null, "num_key_value_heads": null, "rope_scaling": null,
            "eos_token_id": null, "bos_token_id": null, "sliding_window": null,
            "quantization_config": null, "tie_word_embeddings": null,
        }));
        assert_eq!(nulls.unwrap(), parse(json!({})).unwrap());
    }

    #[test]
    fn the_two_generations_mean_the_same() {
        let older = parse(json!({
            "torch_dtype": "bfloat16", "rope_theta": 500000.0, "head_dim": 16, "num_key_value_heads": 2,
            "rope_scaling": {"type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
            "eos_token_id": [1, 2], "bos_token_id": 0, "tie_word_embeddings": true,
        }));
        let newer = parse(json!({
            "dtype": "bfloat16", "head_dim": 16, "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
            "eos_token_id": [1, 2], "bos_token_id": 0, "tie_word_embeddings": true,
        }));
        assert_eq!(older, newer);
        let config = newer.unwrap();
        assert_eq!((config.head_dim, config.rope.theta), (16, 500_000.0));
        assert_eq!(config.dtype.as_deref(), Some("bfloat16"));
        assert_eq!(config.eos_token_ids, [1, 2]);
        assert_eq!(
            config.rope.scaling,
            RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192
            }
        );
        assert_eq!(
            scaling(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})),
            Ok(RopeScaling::None)
        );
        for key in ["type", "rope_type"] {
            assert_eq!(
                scaling(json!({"rope_scaling": {key: "linear", "factor": 2.5}})),
                Ok(RopeScaling::Linear { factor: 2.5 })
            );
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let table = [
            (json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "`yarn`"),
            (json!({"rope_scaling": {"type": "mrope"}}), "`mrope`"),
            (json!({"rope_scaling": {"type": "linear"}}), "`factor` is missing"),
            (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "must be positive"),
            (
                json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}),
                "original_max_position_embeddings",
            ),
            (
                json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8}}),
                "less than",
            ),
            (
                json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
                "per kind of layer",
            ),
            (json!({"rope_scaling": {"type": "factors", "factors": [1.0]}}), "1 factors for 4"),
            (json!({"rope_theta": -1.0}), "rope_theta"),
            (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
            (json!({"hidden_size": 0}), "`hidden_size` is 0"),
            (json!({"hidden_size": 1u64 << 40}), "`hidden_size`"),
            (json!({"hidden_size": -1}), "-1"),
            (json!({"num_attention_heads": 0}), "num_attention_heads"),
            (json!({"num_attention_heads": 7}), "must be a multiple"),
            (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
            (json!({"num_key_value_heads": 0}), "num_key_value_heads"),
            (json!({"vocab_size": "many"}), "many"),
            (json!({"eos_token_id": "</s>"}), "token id"),
            (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
            (json!({"quantization_config": {"quant_method": "gptq"}}), "`gptq`"),
        ];
        for (extra, word) in table {
            let error = parse(extra.clone()).unwrap_err();
            assert!(error.starts_with("config.json: ") && error.contains(word), "{extra}: {error}");
        }
        let mut json = base();
        json.as_object_mut().unwrap().remove("vocab_size");
        let error = TextConfig::parse(Path::new("config.json"), &json).unwrap_err().to_string();
        assert!(error.contains("vocab_size"), "{error}");
        assert!(TextConfig::parse(Path::new("config.json"), &json!([1])).is_err());
    }

    /// The rule as transformers states it, in its own terms: wavelengths, three cases.
    fn llama3_by_wavelength(
        frequency: f64,
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    ) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        if wavelength < original / high {
            frequency
        } else if wavelength > original / low {
            frequency / factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    }

    #[test]
    fn frequencies_of_every_scaling() {
        let rope = |scaling| RopeConfig { theta: 500_000.0, scaling }.inverse_frequencies(64);
        let plain: Vec<f64> =
            (0..32).map(|pair| 1.0 / 500_000f64.powf(pair as f64 / 32.0)).collect();
        let close = |found: Vec<f32>, wanted: Vec<f64>| {
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.into_iter().zip(wanted) {
                assert!((f64::from(found) / wanted - 1.0).abs() < 1e-6, "{found} {wanted}");
            }
        };
        close(rope(RopeScaling::None), plain.clone());
        close(rope(RopeScaling::Linear { factor: 4.0 }), plain.iter().map(|f| f / 4.0).collect());
        let llama3 = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let wanted: Vec<f64> =
            plain.iter().map(|f| llama3_by_wavelength(*f, 32.0, 1.0, 4.0, 8192.0)).collect();
        // All three cases are met.
        assert_eq!(wanted[0], plain[0]);
        assert_eq!(wanted[31], plain[31] / 32.0);
        assert!(wanted.iter().zip(&plain).any(|(w, p)| w < p && *w > p / 31.0));
        close(rope(llama3), wanted.clone());
        // The factors a GGUF file would hold give the same.
        let factors = plain.iter().zip(&wanted).map(|(plain, scaled)| plain / scaled).collect();
        close(rope(RopeScaling::Factors(factors)), wanted);
    }
}
