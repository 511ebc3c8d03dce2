//! The metadata of a GGUF file as the `config.json` that Hugging Face would have written: models
//! read one format. Knows no tensors; what only tensors tell (a tied head, llama3's rope factors)
//! the loader adds. Source: the key list of the GGUF specification (docs/gguf.md of ggml).

mod experts;

use crate::error::LoadError;
use mistralrs_quant::gguf::{Array, Metadata};
use serde_json::{Map, Value, json};

/// `general.architecture` → the name in the registry.
const ARCHITECTURES: [(&str, &str); 5] = [
    ("llama", "LlamaForCausalLM"),
    ("qwen2", "Qwen2ForCausalLM"),
    ("qwen2moe", "Qwen2MoeForCausalLM"),
    ("qwen3moe", "Qwen3MoeForCausalLM"),
    ("deepseek2", "DeepseekV2ForCausalLM"),
];

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
    let Some((prefix, name)) = ARCHITECTURES.into_iter().find(|(prefix, _)| *prefix == found)
    else {
        let supported = ARCHITECTURES.map(|(prefix, _)| prefix).join(", ");
        return Err(LoadError::UnknownArchitecture { found: found.to_owned(), supported });
    };
    let keys = Keys { metadata, prefix };
    let name = experts::name(&keys)?.unwrap_or(name);
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    set("architectures", json!([name]));
    set("model_type", json!(prefix));
    set("num_hidden_layers", json!(keys.needed("block_count")?));
    set("hidden_size", json!(keys.needed("embedding_length")?));
    set("intermediate_size", json!(keys.needed("feed_forward_length")?));
    set("num_attention_heads", json!(keys.needed("attention.head_count")?));
    if let Some(heads) = keys.number("attention.head_count_kv")? {
        set("num_key_value_heads", json!(heads));
    }
    let head_dim = keys.head_dim()?;
    set("head_dim", json!(head_dim));
    let epsilon = "attention.layer_norm_rms_epsilon";
    let value = keys.float(epsilon).ok_or_else(|| keys.missing(epsilon))?;
    set("rms_norm_eps", json!(value));
    let context = keys.number("context_length")?.unwrap_or(DEFAULT_CONTEXT_TOKENS);
    set("max_position_embeddings", json!(context));
    set("vocab_size", json!(keys.vocab_size()?));
    set("hidden_act", json!("silu"));
    set("rope_parameters", keys.rope(head_dim)?);
    if let Some(id) = metadata.get_u64("tokenizer.ggml.bos_token_id") {
        set("bos_token_id", json!(id));
    }
    set("eos_token_id", json!(eos_token_ids(metadata)));
    experts::add(&keys, &mut config)?;
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

    /// A fraction, as the decimal number that was meant: 1e-5 and not the nearest f32's digits.
    fn float(&self, name: &str) -> Option<f64> {
        self.metadata.get_f32(&self.key(name))?.to_string().parse().ok()
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
        rope.insert("rope_theta".into(), json!(self.float("rope.freq_base").unwrap_or(10_000.0)));
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
        if let Some(rotated) = self.number("rope.dimension_count")?
            && rotated != head_dim
        {
            let share = rotated as f64 / head_dim as f64;
            rope.insert("partial_rotary_factor".into(), json!(share));
        }
        Ok(Value::Object(rope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::{RopeScaling, TextConfig};
    use mistralrs_quant::gguf::{self, Strings};
    use std::path::Path;

    fn metadata(architecture: &str, change: impl FnOnce(&mut Metadata)) -> Metadata {
        let mut metadata = Metadata::default();
        let text = |text: &str| gguf::Value::String(text.to_owned());
        metadata.insert("general.architecture", text(architecture));
        for (key, number) in [
            ("block_count", 5),
            ("embedding_length", 64),
            ("feed_forward_length", 172),
            ("attention.head_count", 8),
            ("attention.head_count_kv", 4),
            ("context_length", 512),
            ("rope.dimension_count", 8),
        ] {
            metadata.insert(format!("{architecture}.{key}"), gguf::Value::U32(number));
        }
        let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
        metadata.insert(epsilon, gguf::Value::F32(1e-5));
        metadata.insert(format!("{architecture}.rope.freq_base"), gguf::Value::F32(1e6));
        let tokens: Strings = (0..512).map(|id| id.to_string()).collect();
        metadata.insert("tokenizer.ggml.tokens", gguf::Value::Array(Array::String(tokens)));
        metadata.insert("tokenizer.ggml.bos_token_id", gguf::Value::U32(1));
        metadata.insert("tokenizer.ggml.eos_token_id", gguf::Value::U32(2));
        change(&mut metadata);
        metadata
    }

    fn config(metadata: &Metadata) -> Result<TextConfig, String> {
        let json = config_from_gguf(metadata).map_err(|error| error.to_string())?;
        TextConfig::parse(Path::new("x.gguf"), &json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_config_as_the_json_would_give() {
        for (architecture, name) in ARCHITECTURES {
            let json = json!({
                "architectures": [name], "hidden_size": 64, "intermediate_size": 172,
                "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4,
                "head_dim": 8, "vocab_size": 512, "max_position_embeddings": 512,
                "rms_norm_eps": 1e-5, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": 2,
            });
            let wanted = TextConfig::parse(Path::new("config.json"), &json).unwrap();
            assert_eq!(config(&metadata(architecture, |_| {})), Ok(wanted));
        }
    }

    #[test]
    fn what_is_silent_gets_its_default() {
        let mut bare = Metadata::default();
        for (key, value) in metadata("llama", |_| {}).iter() {
            let optional = [
                "context_length",
                "freq_base",
                "dimension_count",
                "kv",
                "bos_token_id",
                "eos_token_id",
            ];
            if !optional.iter().any(|ending| key.ends_with(ending)) {
                bare.insert(key, value.clone());
            }
        }
        let config = config(&bare).unwrap();
        assert_eq!((config.max_position_embeddings, config.rope.theta), (4096, 10_000.0));
        assert_eq!((config.num_key_value_heads, config.head_dim), (8, 8));
        assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![]));
    }

    #[test]
    fn widths_ends_and_rope_of_other_files() {
        let wide = config(&metadata("qwen2", |m| {
            m.insert("qwen2.attention.key_length", gguf::Value::U32(16));
            m.insert("qwen2.attention.value_length", gguf::Value::U32(16));
            m.insert("qwen2.rope.dimension_count", gguf::Value::U32(16));
            m.insert("tokenizer.ggml.eot_token_id", gguf::Value::U32(7));
            m.insert("tokenizer.ggml.eom_token_id", gguf::Value::U32(2));
        }))
        .unwrap();
        assert_eq!((wide.head_dim, wide.eos_token_ids), (16, vec![2, 7]));
        let rope =
            |change: fn(&mut Metadata)| config(&metadata("llama", change)).map(|c| c.rope.scaling);
        let text = |text: &str| gguf::Value::String(text.to_owned());
        assert_eq!(
            rope(|m| drop(m.insert("llama.rope.scaling.type", gguf::Value::String("none".into())))),
            Ok(RopeScaling::None)
        );
        let linear = Ok(RopeScaling::Linear { factor: 2.5 });
        assert_eq!(
            rope(|m| drop(m.insert("llama.rope.scale_linear", gguf::Value::F32(2.5)))),
            linear
        );
        let newer = metadata("llama", |m| {
            m.insert("llama.rope.scaling.type", text("linear"));
            m.insert("llama.rope.scaling.factor", gguf::Value::F32(2.5));
        });
        assert_eq!(config(&newer).map(|c| c.rope.scaling), linear);
        let yarn = metadata("llama", |m| drop(m.insert("llama.rope.scaling.type", text("yarn"))));
        assert!(config(&yarn).unwrap_err().contains("`yarn`"));
    }

    #[test]
    fn one_number_per_layer_must_be_one_number() {
        let heads = |heads: Vec<i32>| {
            config(&metadata("llama", |m| {
                m.insert("llama.attention.head_count_kv", gguf::Value::Array(Array::I32(heads)));
            }))
        };
        assert_eq!(heads(vec![2; 5]).unwrap().num_key_value_heads, 2);
        assert!(heads(vec![2, 2, 4, 2, 2]).unwrap_err().contains("differs from layer to layer"));
        assert!(heads(vec![-2; 5]).unwrap_err().contains("negative"));
        assert!(heads(vec![]).is_err());
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let complete = metadata("llama", |_| {});
        for (key, _) in complete.iter() {
            let mut less = Metadata::default();
            complete
                .iter()
                .filter(|(held, _)| *held != key)
                .for_each(|(held, value)| drop(less.insert(held, value.clone())));
            let optional = ["kv", "context_length", "dimension_count", "freq_base", "_token_id"];
            match config(&less) {
                Ok(_) => assert!(optional.iter().any(|ending| key.ends_with(ending)), "{key}"),
                Err(error) => {
                    assert!(error.contains(key) && error.contains("missing"), "{key}: {error}")
                }
            }
        }
        let unknown = config_from_gguf(&metadata("mamba", |_| {})).unwrap_err();
        assert!(matches!(unknown, LoadError::UnknownArchitecture { .. }));
        type Change = fn(&mut Metadata);
        let table: [(Change, &str); 5] = [
            (|m| drop(m.insert("llama.expert_count", gguf::Value::U32(8))), "expert"),
            (
                |m| drop(m.insert("llama.rope.dimension_count", gguf::Value::U32(4))),
                "partial_rotary_factor",
            ),
            (|m| drop(m.insert("llama.attention.head_count", gguf::Value::U32(7))), "no multiple"),
            (|m| drop(m.insert("llama.attention.head_count", gguf::Value::U32(0))), "no multiple"),
            (
                |m| {
                    m.insert("llama.attention.key_length", gguf::Value::U32(8));
                    m.insert("llama.attention.value_length", gguf::Value::U32(16));
                },
                "must be equal",
            ),
        ];
        for (change, word) in table {
            let error = config(&metadata("llama", change)).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    /// The same model in both formats, where the shared data folder is at hand.
    #[test]
    fn a_real_file_agrees_with_its_folder() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
        if !shared.is_dir() {
            println!("skipped: no {}", shared.display());
            return;
        }
        let json = std::fs::read_to_string(shared.join("stories260K/config.json")).unwrap();
        let json = serde_json::from_str(&json).unwrap();
        let mut wanted = TextConfig::parse(Path::new("config.json"), &json).unwrap();
        for name in ["stories260K-f32.gguf", "stories260K-q4_0.gguf", "stories260K-q8_0.gguf"] {
            let found = config(&Metadata::read(&shared.join(name)).unwrap()).unwrap();
            // What metadata does not tell.
            wanted.tie_word_embeddings = found.tie_word_embeddings;
            wanted.dtype = None;
            assert_eq!(found, wanted, "{name}");
        }
    }
}
