//! The metadata of a GGUF file as the `config.json` that Hugging Face would have written: models
//! read one format. Knows no tensors; what only tensors tell (a tied head, llama3's rope factors)
//! the loader adds. Source: the key list of the GGUF specification (docs/gguf.md of ggml).

mod encoders;
mod experts;
mod families;
mod towers;

pub use encoders::{GgufPooling, pooling};
pub use towers::{Seeing, with_tower};

use crate::error::LoadError;
use families::Family;
use mistralrs_quant::gguf::{Array, Metadata};
use serde_json::{Map, Value, json};

/// One row: an architecture of GGUF files.
struct Row {
    /// `general.architecture`, and before a dot in its keys.
    prefix: &'static str,
    /// The name in the registry.
    name: &'static str,
    /// What is special about its keys.
    family: Family,
}

const fn row(prefix: &'static str, name: &'static str, family: Family) -> Row {
    Row { prefix, name, family }
}

/// All architectures.
const ARCHITECTURES: &[Row] = &[
    row("llama", "LlamaForCausalLM", families::llama),
    row("qwen2", "Qwen2ForCausalLM", families::plain),
    row("qwen2vl", "Qwen2VLForConditionalGeneration", families::qwen_vl),
    row("qwen3vl", "Qwen3VLForConditionalGeneration", families::qwen_vl),
    row("qwen3vlmoe", "Qwen3VLMoeForConditionalGeneration", families::qwen_vl),
    row("qwen3", "Qwen3ForCausalLM", families::plain),
    row("gemma2", "Gemma2ForCausalLM", families::gemma2),
    row("gemma3", "Gemma3ForCausalLM", families::gemma3),
    row("phi3", "Phi3ForCausalLM", families::phi3),
    row("smollm3", "SmolLM3ForCausalLM", families::plain),
    row("granite", "GraniteForCausalLM", families::granite),
    row("olmo2", "Olmo2ForCausalLM", families::plain),
    row("glm4", "Glm4ForCausalLM", families::plain),
    row("starcoder2", "Starcoder2ForCausalLM", families::starcoder2),
    row("seed_oss", "SeedOssForCausalLM", families::plain),
    row("qwen2moe", "Qwen2MoeForCausalLM", families::plain),
    row("qwen3moe", "Qwen3MoeForCausalLM", families::plain),
    row("deepseek2", "DeepseekV2ForCausalLM", families::plain),
    row("gemma3n", "Gemma3nForCausalLM", families::gemma3n),
    row("bert", "BertModel", encoders::bert),
    row("modern-bert", "ModernBertModel", encoders::modern_bert),
    row("gemma-embedding", "Gemma3TextModel", encoders::embedding_gemma),
];

/// `general.architecture` of files that hold a tower, for a model in another file.
const TOWER: &str = "clip";

/// What files that name no context were made for: the length of the models of their time.
const DEFAULT_CONTEXT_TOKENS: u64 = 4096;

/// Builds the config of a GGUF file.
///
/// # Errors
/// [`LoadError::UnknownArchitecture`]; [`LoadError::BadFile`] naming the key that is missing or
/// asks for something that is not supported.
pub fn config_from_gguf(metadata: &Metadata) -> Result<Value, LoadError> {
    let found = metadata
        .get_str("general.architecture")
        .ok_or_else(|| bad("`general.architecture` is missing"))?;
    if found == TOWER {
        return Err(bad(
            "this is the vision tower of a model (`mmproj`): name the text model's file with -m, and this one with --mmproj",
        ));
    }
    let Some(row) = ARCHITECTURES.iter().find(|row| row.prefix == found) else {
        let supported: Vec<_> = ARCHITECTURES.iter().map(|row| row.prefix).collect();
        let supported = supported.join(", ");
        return Err(LoadError::UnknownArchitecture { found: found.to_owned(), supported });
    };
    let Row { prefix, name, family } = row;
    let keys = Keys { metadata, prefix };
    let mut config = Map::new();
    let latent = experts::latent_widths(&keys, &mut config)?;
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    set("architectures", json!([name]));
    set("model_type", json!(prefix));
    set("num_hidden_layers", json!(keys.needed("block_count")?));
    set("hidden_size", json!(keys.needed("embedding_length")?));
    set("intermediate_size", keys.mlp_width()?);
    set("num_attention_heads", json!(keys.needed("attention.head_count")?));
    if let Some(heads) = keys.number("attention.head_count_kv")? {
        set("num_key_value_heads", json!(heads));
    }
    let head_dim = latent.map_or_else(|| keys.head_dim(), Ok)?;
    set("head_dim", json!(head_dim));
    set("rms_norm_eps", json!(keys.epsilon()?));
    let context = keys.number("context_length")?.unwrap_or(DEFAULT_CONTEXT_TOKENS);
    set("max_position_embeddings", json!(context));
    set("vocab_size", json!(keys.vocab_size()?));
    set("rope_parameters", keys.rope(head_dim)?);
    if let Some(id) = metadata.get_u64("tokenizer.ggml.bos_token_id") {
        set("bos_token_id", json!(id));
    }
    set("eos_token_id", json!(eos_token_ids(metadata)));
    keys.windows(&mut config)?;
    family(&keys, &mut config)?;
    experts::add(&keys, &mut config)?;
    encoders::add(&keys, &mut config)?;
    Ok(Value::Object(config))
}

/// End of sequence, of turn and of message: each ends an answer.
fn eos_token_ids(metadata: &Metadata) -> Vec<u64> {
    let mut ids = Vec::new();
    for key in ["eos", "eot", "eom"] {
        if let Some(id) = metadata.get_u64(&format!("tokenizer.ggml.{key}_token_id"))
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    ids
}

/// The decimal number that was meant: 1e-5, and not the digits of the nearest f32.
fn decimal(number: f32) -> Option<f64> {
    number.to_string().parse().ok()
}

fn bad(reason: impl Into<String>) -> LoadError {
    LoadError::BadFile { file: "GGUF metadata".into(), reason: reason.into() }
}

/// The keys of one architecture: `llama.block_count` is `block_count` here.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn missing(&self, name: &str) -> LoadError {
        bad(format!("`{}` is missing", self.key(name)))
    }

    /// A whole number. Some files give one per layer: all must be equal.
    fn number(&self, name: &str) -> Result<Option<u64>, LoadError> {
        let key = self.key(name);
        let Some(layers) = self.metadata.get_i32s(&key) else {
            return Ok(self.metadata.get_u64(&key));
        };
        match layers.split_first() {
            Some((first, rest)) if rest.iter().all(|number| number == first) => {
                u64::try_from(*first).map(Some).map_err(|_| bad(format!("`{key}` is negative")))
            }
            _ => Err(bad(format!("`{key}` differs from layer to layer, which is not supported"))),
        }
    }

    fn needed(&self, name: &str) -> Result<u64, LoadError> {
        self.number(name)?.ok_or_else(|| self.missing(name))
    }

    /// A fraction, as the [`decimal`] number that was meant.
    fn float(&self, name: &str) -> Option<f64> {
        decimal(self.metadata.get_f32(&self.key(name))?)
    }

    /// One number, or of the family whose layers differ a list.
    fn mlp_width(&self) -> Result<Value, LoadError> {
        let key = "feed_forward_length";
        match self.metadata.get_i32s(&self.key(key)).filter(|_| self.prefix == "gemma3n") {
            Some(widths) => Ok(json!(widths)),
            None => Ok(json!(self.needed(key)?)),
        }
    }

    /// Of the norms, of whichever kind they are.
    fn epsilon(&self) -> Result<f64, LoadError> {
        let key = "attention.layer_norm_rms_epsilon";
        let found = self.float(key).or_else(|| self.float("attention.layer_norm_epsilon"));
        found.ok_or_else(|| self.missing(key))
    }

    /// The window, and which layers have it: a list, or every how manyth has none.
    fn windows(&self, config: &mut Map<String, Value>) -> Result<(), LoadError> {
        let Some(window) = self.number("attention.sliding_window")? else {
            return Ok(());
        };
        config.insert("sliding_window".into(), json!(window));
        config.insert("use_sliding_window".into(), json!(true));
        let layers = self.needed("block_count")?;
        let key = self.key("attention.sliding_window_pattern");
        let slides: Vec<bool> = match (self.metadata.get_array(&key), self.metadata.get_u64(&key)) {
            (Some(Array::Bool(slides)), _) => slides.clone(),
            (_, Some(period)) if layers < u64::from(u16::MAX) => {
                (1..=layers).map(|layer| layer.checked_rem(period) != Some(0)).collect()
            }
            _ => return Ok(()),
        };
        let kind = |slides| if slides { "sliding_attention" } else { "full_attention" };
        let kinds: Vec<_> = slides.into_iter().map(kind).collect();
        config.insert("layer_types".into(), json!(kinds));
        Ok(())
    }

    fn head_dim(&self) -> Result<u64, LoadError> {
        let key = self.number("attention.key_length")?;
        let value = self.number("attention.value_length")?;
        match (key, value) {
            (Some(key), Some(value)) if key != value => Err(bad(format!(
                "`{}` is {key} and `{}` is {value}; they must be equal",
                self.key("attention.key_length"),
                self.key("attention.value_length")
            ))),
            (Some(width), _) | (None, Some(width)) => Ok(width),
            (None, None) => {
                let (hidden, heads) =
                    (self.needed("embedding_length")?, self.needed("attention.head_count")?);
                hidden.checked_div(heads).filter(|width| width * heads == hidden).ok_or_else(|| {
                    bad(format!(
                        "`{}` is {hidden}, no multiple of `{}` {heads}",
                        self.key("embedding_length"),
                        self.key("attention.head_count")
                    ))
                })
            }
        }
    }

    /// The vocabulary lies in the file; only files without one say its size.
    fn vocab_size(&self) -> Result<u64, LoadError> {
        let tokens = match self.metadata.get_array("tokenizer.ggml.tokens") {
            Some(Array::String(tokens)) => u64::try_from(tokens.len()).ok(),
            _ => self.number("vocab_size")?,
        };
        tokens.ok_or_else(|| bad("`tokenizer.ggml.tokens` is missing"))
    }

    fn rope(&self, head_dim: u64) -> Result<Value, LoadError> {
        let mut rope = Map::new();
        if let Some(theta) = self.float("rope.freq_base") {
            rope.insert("rope_theta".into(), json!(theta));
        }
        // The oldest files have one factor and no kind.
        let oldest = self.float("rope.scale_linear").filter(|factor| *factor != 1.0);
        let kind = match self.metadata.get_str(&self.key("rope.scaling.type")) {
            None if oldest.is_some() => "linear",
            None | Some("none") => "default",
            Some(kind) => kind,
        };
        rope.insert("rope_type".into(), json!(kind));
        if let Some(factor) = self.float("rope.scaling.factor").or(oldest) {
            rope.insert("factor".into(), json!(factor));
        }
        if let Some(tokens) = self.number("rope.scaling.original_context_length")? {
            rope.insert("original_max_position_embeddings".into(), json!(tokens));
        }
        experts::yarn_sharpness(self, &mut rope);
        if let Some(rotated) = self.number("rope.dimension_count")? {
            let share = rotated as f64 / head_dim as f64;
            rope.insert("partial_rotary_factor".into(), json!(share));
        }
        Ok(Value::Object(rope))
    }
}

#[cfg(test)]
mod tests;
