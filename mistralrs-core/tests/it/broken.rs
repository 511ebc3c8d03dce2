//! Folders with something wrong in them: what the operator reads names the file, the tensor, what was
//! wanted and what was found.

use crate::answers::options;
use mistralrs_core::load_any;
use mistralrs_testkit::{copy_of, fixture};
use std::path::{Path, PathBuf};

/// The text of the error that loading this folder ends with.
fn refusal(folder: &Path) -> String {
    match load_any(options(folder)) {
        Ok(_) => panic!("a broken folder was loaded"),
        Err(error) => error.to_string(),
    }
}

/// Replaces bytes of a file by as many others.
fn patch(file: &Path, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = copy_of("qwen2-tied");
    patch(&folder.path().join("model.safetensors"), "model.norm.weight", "model.nxrm.weight");
    let text = refusal(folder.path());
    assert!(text.contains("`model.norm.weight`") || text.contains("model.norm.weight"), "{text}");
    assert!(text.contains("model.safetensors"), "{text}");
}

#[test]
fn a_surplus_tensor_is_named() {
    let folder = copy_of("qwen2-tied");
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let fewer = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    assert_ne!(text, fewer);
    std::fs::write(&config, fewer).unwrap();
    let text = refusal(folder.path());
    assert!(text.contains("model.layers.1."), "{text}");
    assert!(text.contains("model.safetensors"), "{text}");
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let folder = copy_of("qwen2-tied");
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let wider = text.replace("\"intermediate_size\": 64", "\"intermediate_size\": 96");
    assert_ne!(text, wider);
    std::fs::write(&config, wider).unwrap();
    let text = refusal(folder.path());
    for part in ["mlp.", "model.safetensors", "96", "64"] {
        assert!(text.contains(part), "no {part}: {text}");
    }
}

/// A copy of a GGUF fixture with its bytes changed.
fn with_bytes(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let mut bytes = std::fs::read(fixture(name)).unwrap();
    change(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    (folder, file)
}

/// Where the entry of a tensor in a GGUF header ends: behind it stand dimensions, type and offset.
fn entry(bytes: &[u8], name: &str) -> usize {
    let whole = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    bytes.windows(whole.len()).position(|w| w == whole).unwrap() + whole.len()
}

#[test]
fn hostile_gguf_files_are_named_with_their_defect() {
    const FILE: &str = "qwen3-f32.gguf";
    // Of a matrix: the count of its dimensions, two of them, the type, the offset.
    const OFFSET: usize = 4 + 8 + 8 + 4;
    type Change = fn(&mut Vec<u8>);
    let table: [(&str, Change); 6] = [
        ("does not lie inside the file", |bytes| bytes.truncate(bytes.len() - 100)),
        ("do not fit into the", |bytes| bytes.truncate(2000)),
        ("not supported", |bytes| bytes[0] = b'X'),
        ("do not fit", |bytes| bytes[8..16].fill(0x7f)),
        ("does not lie inside the file", |bytes| {
            let at = entry(bytes, "token_embd.weight") + 4 + 8;
            bytes[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
        }),
        ("overlap", |bytes| {
            let at = entry(bytes, "blk.0.attn_q.weight") + OFFSET;
            let other = entry(bytes, "blk.0.attn_k.weight") + OFFSET;
            bytes.copy_within(other..other + 8, at);
        }),
    ];
    for (defect, change) in table {
        let (_folder, file) = with_bytes(FILE, change);
        let text = refusal(&file);
        assert!(text.contains(defect), "{defect}: {text}");
        assert!(text.contains(FILE), "{text}");
    }
}

/// Some converters leave the pooler out; what is left would rank otherwise.
#[test]
fn a_cross_encoder_without_its_pooler_is_refused() {
    const FILE: &str = "bert-rerank-f16.gguf";
    let (_folder, file) = with_bytes(FILE, |bytes| {
        for name in ["cls.weight", "cls.bias"] {
            let end = entry(bytes, name);
            bytes[end - name.len()..end - name.len() + 3].copy_from_slice(b"abc");
        }
    });
    let text = refusal(&file);
    assert!(text.contains("pooler.dense.weight") && text.contains(FILE), "{text}");
}

/// Pieces that are not what their names say, and an index that leads back to itself.
#[test]
fn pieces_that_lead_nowhere_are_named() {
    const PIECES: [&str; 2] =
        ["bert-cls-f32-00001-of-00002.gguf", "bert-cls-f32-00002-of-00002.gguf"];
    let folder = tempfile::tempdir().unwrap();
    let place = |number: usize| folder.path().join(PIECES[number]);
    std::fs::copy(fixture(PIECES[0]), place(0)).unwrap();
    assert!(refusal(&place(0)).contains(PIECES[1]), "the second is missing");
    std::fs::copy(fixture(PIECES[0]), place(1)).unwrap();
    let twice = refusal(&place(0));
    assert!(twice.contains("number 1 is absent") && twice.contains("bert-cls"), "{twice}");

    let folder = copy_of("qwen2-untied");
    let index = folder.path().join("model.safetensors.index.json");
    let circle = r#"{"weight_map": {"model.norm.weight": "model.safetensors.index.json"}}"#;
    std::fs::write(index, circle).unwrap();
    assert!(refusal(folder.path()).contains("model.safetensors.index.json"));
}

#[test]
fn hostile_safetensors_are_named_with_their_defect() {
    type Change = fn(&mut Vec<u8>);
    let table: [(&str, Change); 4] = [
        ("too few", |bytes| bytes.truncate(5)),
        ("does not fit", |bytes| bytes[..8].fill(0xff)),
        ("no table", |bytes| bytes[8] = b'['),
        ("must start at", |bytes| bytes.truncate(bytes.len() - 2)),
    ];
    for (defect, change) in table {
        let folder = copy_of("qwen2-tied");
        let file = folder.path().join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains(defect) && text.contains("model.safetensors"), "{defect}: {text}");
    }
}

#[test]
fn hostile_configs_are_named_with_their_key() {
    for (key, value) in [
        ("num_attention_heads", "0"),
        ("num_key_value_heads", "0"),
        ("num_hidden_layers", "1000000000"),
        ("num_hidden_layers", "1e9"),
        ("hidden_size", "-32"),
        ("hidden_size", "18446744073709551615"),
        ("head_dim", "1000000000"),
        ("vocab_size", "null"),
        ("max_position_embeddings", "\"many\""),
    ] {
        let folder = copy_of("qwen2-tied");
        let config = folder.path().join("config.json");
        let mut json: serde_json::Value = mistralrs_testkit::read_json(&config);
        json[key] = serde_json::from_str(value).unwrap();
        std::fs::write(&config, json.to_string()).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains(key) && text.contains("config.json"), "{key} {value}: {text}");
    }
}
