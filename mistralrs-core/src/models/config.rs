//! What the `config.json` of nearly every decoder has in common, in the older spelling and in the
//! one transformers 5 writes (`rope_parameters`, `dtype`).
//!
//! Knows JSON only: no files, no tensors. Formats: the configuration classes of Hugging Face
//! transformers. What only some families read they read themselves; [`check_keys`] refuses what
//! nobody would read although it changes the numbers.

mod rope;

pub use rope::{RopeConfig, RopeScaling};

use crate::error::LoadError;
use rope::{RawRope, RopeKeys};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::path::Path;

/// No dimension of a model is larger; products of two stay far from overflow.
pub(super) const LARGEST_DIMENSION: usize = 1 << 28;

/// No model has more layers; what is kept per layer before a weight is read stays small.
pub(super) const MOST_LAYERS: usize = 1 << 12;

/// No head is wider; the frequencies of its rotation are computed before a weight is read.
const WIDEST_HEAD: usize = 1 << 16;

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
    /// Rotary embedding: of all layers, or of those that see everything.
    pub rope: RopeConfig,
    /// Rotary embedding of the layers with a window, where the file has one.
    pub local_rope: Option<RopeConfig>,
    /// The output matrix is the embedding. `false` when the file is silent, as in Llama and Qwen2.
    pub tie_word_embeddings: bool,
    /// Nobody asks for logits: what stands in the head's place is a table of embeddings, never multiplied.
    /// No file says so.
    pub headless: bool,
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

impl TextConfig {
    /// Reads the JSON of `file`; the path is for messages only. Of a model with other parts than
    /// text it is `text_config` that is read.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(file: &Path, json: &Value) -> Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let json = text_keys(json);
        let raw: RawConfig =
            serde_path_to_error::deserialize(&*json).map_err(|error| bad(error.to_string()))?;
        raw.check().map_err(bad)
    }

    /// Like [`TextConfig::parse`], where the family has other `defaults` (keys and values) for what
    /// the file does not say. What it sets to null is said.
    ///
    /// # Errors
    /// The same.
    pub fn parse_with(file: &Path, json: &Value, defaults: Value) -> Result<Self, LoadError> {
        Self::parse(file, &with_defaults(json, defaults))
    }

    /// Whether a layer has a window: by `layer_types` where the file has it, else `otherwise`.
    pub fn slides(&self, layer: usize, otherwise: bool) -> bool {
        self.layer_types.get(layer).map_or(otherwise, |kind| kind == SLIDING)
    }
}

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// The keys of a file beside `defaults` for those that it does not have; `text_config` unpacked.
pub fn with_defaults(json: &Value, defaults: Value) -> Value {
    let (Value::Object(mut all), Some(keys)) = (defaults, text_keys(json).as_object().cloned())
    else {
        return json.clone();
    };
    all.extend(keys);
    Value::Object(all)
}

/// The keys of one part of a file (`vision_config`) over `defaults`.
pub fn part(json: &Value, name: &str, mut defaults: Value) -> Value {
    let told = json.get(name).and_then(Value::as_object);
    if let (Some(all), Some(told)) = (defaults.as_object_mut(), told) {
        all.extend(told.clone());
    }
    defaults
}

/// The keys of a text model: those of `text_config` over those beside it, but for the names and ids
/// that belong to the whole.
fn text_keys(json: &Value) -> Cow<'_, Value> {
    let Some(text) = json.get("text_config").and_then(Value::as_object) else {
        return Cow::Borrowed(json);
    };
    let mut keys: Map<String, Value> = text.clone();
    for (key, value) in json.as_object().into_iter().flatten() {
        let of_the_whole =
            matches!(key.as_str(), "architectures" | "eos_token_id" | "bos_token_id");
        if key != "text_config" && (of_the_whole || !keys.contains_key(key)) {
            keys.insert(key.clone(), value.clone());
        }
    }
    Cow::Owned(Value::Object(keys))
}

/// Keys that change what some family computes and that no tensor would betray, with the value
/// under which they change nothing (and null does not either).
const ARITHMETIC: &[(&str, Neutral)] = &[
    ("add_cross_attention", Neutral::No),
    ("alibi", Neutral::No),
    ("attention_chunk_size", Neutral::Absent),
    ("attention_multiplier", Neutral::Absent),
    ("attn_logit_softcapping", Neutral::Absent),
    ("attn_temperature_tuning", Neutral::No),
    ("clip_qkv", Neutral::Absent),
    ("embedding_multiplier", Neutral::One),
    ("final_logit_softcapping", Neutral::Absent),
    ("logit_scale", Neutral::One),
    ("logits_scaling", Neutral::One),
    ("long_mscale", Neutral::Absent),
    ("no_rope_layers", Neutral::Absent),
    ("parallel_attn", Neutral::No),
    ("partial_rotary_factor", Neutral::One),
    ("query_pre_attn_scalar", Neutral::Absent),
    ("residual_multiplier", Neutral::One),
    ("rope_interleaved", Neutral::No),
    ("scale_depth", Neutral::Absent),
    ("scale_emb", Neutral::One),
    ("short_mscale", Neutral::Absent),
    ("use_bidirectional_attention", Neutral::No),
    ("use_mrope", Neutral::No),
    ("use_parallel_residual", Neutral::No),
];

/// The value under which a key changes nothing.
#[derive(Debug, Clone, Copy)]
enum Neutral {
    Absent,
    No,
    One,
}

impl Neutral {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Absent => value.is_null(),
            Self::No => value.is_null() || value.as_bool() == Some(false),
            Self::One => value.is_null() || value.as_f64() == Some(1.0),
        }
    }
}

/// Refuses a file whose keys change the arithmetic of some family, but not of this one, which reads
/// the common ones and `reads`.
///
/// # Errors
/// [`LoadError::BadFile`] naming the first such key.
pub fn check_keys(file: &Path, json: &Value, reads: &[&str]) -> Result<(), LoadError> {
    let json = text_keys(json);
    let rope = ["rope_parameters", "rope_scaling"].map(|key| json.get(key));
    for (key, neutral) in ARITHMETIC.iter().filter(|(key, _)| !reads.contains(key)) {
        let places = rope.into_iter().flatten().chain([&*json]);
        if let Some(value) = places.filter_map(|place| place.get(key)).find(|v| !neutral.is(v)) {
            return Err(LoadError::BadFile {
                file: file.to_owned(),
                reason: format!("`{key}` is {value}, which this architecture does not have"),
            });
        }
    }
    Ok(())
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
    /// Gemma's files may have one of the two set to null.
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
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

/// Checks a number of a config: there is at least one of everything.
pub(super) fn within(key: &str, value: usize, most: usize) -> Result<usize, String> {
    match (1..=most).contains(&value) {
        true => Ok(value),
        false => Err(format!("`{key}` is {value}, outside 1..={most}")),
    }
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
        let dimension = |key: &str, value: usize| within(key, value, LARGEST_DIMENSION);
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
        let head_dim =
            within("head_dim", self.head_dim.unwrap_or(hidden_size / heads), WIDEST_HEAD)?;
        let context = dimension("max_position_embeddings", self.max_position_embeddings)?;
        let layer_types = self.layer_types.clone().unwrap_or_default();
        if let Some(kind) =
            layer_types.iter().find(|kind| ![SLIDING, FULL].contains(&kind.as_str()))
        {
            return Err(format!("`layer_types` has `{kind}`, which is not supported"));
        }
        let rope = RopeKeys {
            theta: self.rope_theta,
            local_theta: self.rope_local_base_freq,
            // The newer spelling wins where a file has both.
            raw: self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()),
            partial: self.partial_rotary_factor,
            original_context: self.original_max_position_embeddings,
            context,
            head_dim,
        };
        let act = self.hidden_activation.or(self.hidden_act);
        Ok(TextConfig {
            hidden_size,
            intermediate_size: dimension("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: within("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            vocab_size: dimension("vocab_size", self.vocab_size)?,
            max_position_embeddings: context,
            rope: rope.global()?,
            local_rope: rope.local()?,
            rms_norm_eps: self.rms_norm_eps,
            hidden_act: act.unwrap_or_else(|| "silu".to_owned()),
            architectures: self.architectures.unwrap_or_default(),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            headless: false,
            attention_bias: self.attention_bias.unwrap_or(false),
            mlp_bias: self.mlp_bias.unwrap_or(false),
            bos_token_id: self.bos_token_id.first().copied(),
            eos_token_ids: self.eos_token_id,
            dtype: self.dtype.or(self.torch_dtype),
            // Some GGUF files say 0 where they mean none.
            sliding_window: self.sliding_window.filter(|window| *window > 0),
            use_sliding_window: self.use_sliding_window,
            max_window_layers: self.max_window_layers,
            layer_types,
        })
    }
}

#[cfg(test)]
mod tests;
