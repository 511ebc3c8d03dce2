//! The keys of encoders; whole files are loaded by the integration tests.

use super::*;
use crate::models::encoders::find;

fn json(architecture: &str, keys: &[(&str, gguf::Value)]) -> Result<Value, String> {
    let metadata = metadata(architecture, |metadata| {
        for (key, value) in keys {
            metadata.insert(format!("{architecture}.{key}"), value.clone());
        }
    });
    config_from_gguf(&metadata).map_err(|error| error.to_string())
}

fn kind(architecture: &str, number: u32) -> Result<Option<GgufPooling>, String> {
    let metadata = metadata(architecture, |metadata| {
        let key = format!("{architecture}.pooling_type");
        drop(metadata.insert(key, gguf::Value::U32(number)));
    });
    pooling(&metadata).map_err(|error| error.to_string())
}

#[test]
fn pooling_tells_encoders_from_text_models() {
    assert_eq!(pooling(&metadata("qwen3", |_| {})).unwrap(), None);
    assert_eq!(kind("qwen3", 0), Ok(None));
    assert_eq!(kind("bert", 1), Ok(Some(GgufPooling::Mean)));
    assert_eq!(kind("bert", 2), Ok(Some(GgufPooling::Cls)));
    assert_eq!(kind("qwen3", 3), Ok(Some(GgufPooling::LastToken)));
    assert_eq!(kind("modern-bert", 4), Ok(Some(GgufPooling::Rank)));
    assert!(kind("bert", 5).unwrap_err().contains("`bert.pooling_type`"));
    assert_eq!(pooling(&Metadata::default()).unwrap(), None);
}

#[test]
fn a_file_that_ranks_is_a_cross_encoder() {
    for (architecture, vectors, ranks) in [
        ("bert", "BertModel", "BertForSequenceClassification"),
        ("modern-bert", "ModernBertModel", "ModernBertForSequenceClassification"),
    ] {
        for (pooling, name) in [(1, vectors), (4, ranks)] {
            let pooling = [("pooling_type", gguf::Value::U32(pooling))];
            let found = json(architecture, &pooling).unwrap();
            assert_eq!(found["architectures"][0], name);
            let row = find(name).unwrap();
            let shape = (row.shape)(Path::new("x.gguf"), &found).unwrap();
            assert_eq!((shape.hidden, shape.model.context), (64, 512), "{name}");
        }
    }
    let error = json("qwen3", &[("pooling_type", gguf::Value::U32(4))]).unwrap_err();
    assert!(error.contains("cross-encoder") && error.contains("qwen3"), "{error}");
}

#[test]
fn modern_bert_has_two_rotations_and_its_period_begins_with_a_full_layer() {
    let plain = json("modern-bert", &[]).unwrap();
    assert_eq!((&plain["global_attn_every_n_layers"], plain.get("layer_types")), (&json!(3), None));
    let keys = [
        ("rope.freq_base_swa", gguf::Value::F32(500.)),
        ("attention.sliding_window", gguf::Value::U32(8)),
        ("attention.sliding_window_pattern", gguf::Value::U32(2)),
    ];
    let found = json("modern-bert", &keys).unwrap();
    for (key, wanted) in [
        ("global_rope_theta", json!(1e6)),
        ("local_rope_theta", json!(500.0)),
        ("local_attention", json!(8)),
        ("global_attn_every_n_layers", json!(2)),
        ("layer_types", Value::Null),
    ] {
        assert_eq!(found[key], wanted, "{key}");
    }
    let listed = gguf::Value::Array(Array::Bool(vec![false, true, true, true, false]));
    let keys = [keys[1].clone(), ("attention.sliding_window_pattern", listed)];
    let found = json("modern-bert", &keys).unwrap();
    assert_eq!(found["layer_types"][4], "full_attention");
    assert_eq!(found["layer_types"][1], "sliding_attention");
}

#[test]
fn embedding_gemma_sees_both_ways() {
    let keys = [("attention.sliding_window", gguf::Value::U32(512))];
    let found = json("gemma-embedding", &keys).unwrap();
    assert_eq!(found["use_bidirectional_attention"], true);
    assert_eq!(found["sliding_window"], 512);
    let row = find("Gemma3TextModel").unwrap();
    assert!((row.shape)(Path::new("x.gguf"), &found).is_ok());
}
