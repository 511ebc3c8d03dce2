//! Folders with something wrong in them: what the operator reads names the file, the tensor, what was
//! wanted and what was found.

use mistralrs_core::loading::progress::Progress;
use mistralrs_core::{Llm, LoadOptions};
use mistralrs_testkit::copy_of;
use std::path::Path;

/// The text of the error that loading this folder ends with.
fn refusal(folder: &Path) -> String {
    let mut options = LoadOptions::new(folder.to_str().unwrap());
    options.progress = Progress::silent();
    match Llm::load(options) {
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
