//! Metadata against the `config.json` of the same model.

mod encoders;
mod experts;
mod towers;

use super::*;
use crate::models::config::{RopeScaling, TextConfig, check_keys};
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
    let read = || {
        let json = config_from_gguf(metadata)?;
        check_keys(Path::new("x.gguf"), &json, &[])?;
        TextConfig::parse(Path::new("x.gguf"), &json)
    };
    read().map_err(|error: LoadError| error.to_string())
}

#[test]
fn the_same_config_as_the_json_would_give() {
    for (architecture, name) in [
        ("llama", "LlamaForCausalLM"),
        ("qwen2", "Qwen2ForCausalLM"),
        ("qwen3", "Qwen3ForCausalLM"),
    ] {
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
    assert_eq!(rope(|m| drop(m.insert("llama.rope.scale_linear", gguf::Value::F32(2.5)))), linear);
    let newer = metadata("llama", |m| {
        m.insert("llama.rope.scaling.type", text("linear"));
        m.insert("llama.rope.scaling.factor", gguf::Value::F32(2.5));
    });
    assert_eq!(config(&newer).map(|c| c.rope.scaling), linear);
    let odd = metadata("llama", |m| drop(m.insert("llama.rope.scaling.type", text("odd"))));
    assert!(config(&odd).unwrap_err().contains("`odd`"));
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
fn windows_by_list_and_by_period() {
    let windows = |pattern: Option<gguf::Value>| {
        let found = config(&metadata("qwen3", |m| {
            m.insert("qwen3.attention.sliding_window", gguf::Value::U32(7));
            if let Some(pattern) = pattern {
                m.insert("qwen3.attention.sliding_window_pattern", pattern);
            }
        }))
        .unwrap();
        assert_eq!((found.sliding_window, found.use_sliding_window), (Some(7), Some(true)));
        (0..5).map(|layer| found.slides(layer, false)).collect::<Vec<_>>()
    };
    let list = vec![true, false, false, true, true];
    let given = gguf::Value::Array(Array::Bool(list.clone()));
    assert_eq!(windows(Some(given)), list);
    assert_eq!(windows(Some(gguf::Value::U32(2))), [true, false, true, false, true]);
    assert_eq!(windows(Some(gguf::Value::U32(0))), [true; 5]);
    assert_eq!(windows(None), [false; 5]);
    let llama = metadata("llama", |m| {
        m.insert("llama.attention.sliding_window", gguf::Value::U32(7));
    });
    assert_eq!(config(&llama).unwrap().architectures, ["MistralForCausalLM"]);
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

fn json_of(architecture: &str, change: impl FnOnce(&mut Metadata)) -> Value {
    config_from_gguf(&metadata(architecture, change)).unwrap()
}

/// Gemma's files leave it to the reader: the head's width, but in the largest models the width of
/// the stream per head.
#[test]
fn what_gemma_divides_scores_by() {
    for (architecture, largest) in [("gemma2", 46), ("gemma3", 62)] {
        let scalar = |layers: u32, scale: Option<f32>| {
            let json = json_of(architecture, |m| {
                m.insert(format!("{architecture}.block_count"), gguf::Value::U32(layers));
                m.insert(format!("{architecture}.attention.key_length"), gguf::Value::U32(32));
                if let Some(scale) = scale {
                    let key = format!("{architecture}.attention.scale");
                    m.insert(key, gguf::Value::F32(scale));
                }
            });
            json["query_pre_attn_scalar"].as_f64().unwrap()
        };
        assert_eq!(scalar(26, None), 32.0);
        assert_eq!(scalar(largest, None), 8.0);
        assert_eq!(scalar(largest, Some(0.25)), 16.0);
    }
}

#[test]
fn multipliers_factors_and_caps_under_their_names() {
    let silent = json_of("granite", |_| {});
    assert_eq!(silent["attention_multiplier"].as_f64(), Some(8f64.sqrt().recip()));
    assert_eq!(silent.get("logits_scaling"), None);
    let granite = json_of("granite", |m| {
        for (key, value) in [
            ("attention.scale", 0.5),
            ("embedding_scale", 12.0),
            ("residual_scale", 0.25),
            ("logit_scale", 8.0),
        ] {
            m.insert(format!("granite.{key}"), gguf::Value::F32(value));
        }
    });
    let named = |key: &str| granite[key].as_f64().unwrap();
    assert_eq!(named("attention_multiplier"), 0.5);
    assert_eq!((named("embedding_multiplier"), named("residual_multiplier")), (12.0, 0.25));
    assert_eq!(named("logits_scaling"), 8.0);
    let phi3 = json_of("phi3", |m| {
        m.insert("phi3.rope.scaling.original_context_length", gguf::Value::U32(128));
        m.insert("phi3.rope.scaling.attn_factor", gguf::Value::F32(1.5));
    });
    assert_eq!(phi3["original_max_position_embeddings"], 128);
    assert_eq!(phi3["rope_parameters"]["attention_factor"], 1.5);
    let gemma3 = json_of("gemma3", |m| {
        m.insert("gemma3.rope.freq_base_swa", gguf::Value::F32(5e3));
        m.insert("gemma3.final_logit_softcapping", gguf::Value::F32(30.0));
    });
    assert_eq!(gemma3["rope_local_base_freq"], 5e3);
    assert_eq!(gemma3["final_logit_softcapping"], 30.0);
}

#[test]
fn gemma3n_tells_its_layers_apart() {
    let metadata = metadata("gemma3n", |metadata| {
        for (key, number) in [
            ("altup.active_idx", 0),
            ("altup.num_inputs", 4),
            ("embedding_length_per_layer_input", 16),
            ("attention.shared_kv_layers", 2),
        ] {
            metadata.insert(format!("gemma3n.{key}"), gguf::Value::U32(number));
        }
        let widths = Array::I32(vec![172, 172, 86, 86, 86]);
        metadata.insert("gemma3n.feed_forward_length", gguf::Value::Array(widths));
        let gates = Array::F32(vec![1.5, f32::NEG_INFINITY]);
        metadata.insert("gemma3n.activation_sparsity_scale", gguf::Value::Array(gates));
    });
    let found = config_from_gguf(&metadata).unwrap();
    assert_eq!(found["intermediate_size"], json!([172, 172, 86, 86, 86]));
    assert_eq!(found["activation_sparsity_scale"], json!([1.5, null]));
    assert_eq!(
        (&found["num_kv_shared_layers"], &found["altup_num_inputs"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(found["vocab_size_per_layer_input"], json!(512));
    let without = metadata.iter().filter(|(key, _)| !key.contains("altup"));
    let mut less = Metadata::default();
    without.for_each(|(key, value)| drop(less.insert(key, value.clone())));
    let error = config_from_gguf(&less).unwrap_err().to_string();
    assert!(error.contains("gemma3n.altup.active_idx"), "{error}");
}
