//! What the metadata of one family says in its own way.
//! Source: the key list of the GGUF specification and what the writers of the files put in it.

use super::Keys;
use crate::error::LoadError;
use serde_json::{Map, Value, json};

/// Adds a family's own keys to the common ones.
pub(super) type Family = fn(&Keys<'_>, &mut Map<String, Value>) -> Result<(), LoadError>;

/// Nothing beyond the common keys.
pub(super) fn plain(_: &Keys<'_>, _: &mut Map<String, Value>) -> Result<(), LoadError> {
    Ok(())
}

/// Mistral's files call themselves Llama's; with a window they cannot be.
pub(super) fn llama(_: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    if config.get("sliding_window").and_then(Value::as_u64).is_some_and(|window| window > 0) {
        config.insert("architectures".into(), json!(["MistralForCausalLM"]));
    }
    Ok(())
}

/// Streams, inputs per layer, borrowed keys and values, sparse gates.
pub(super) fn gemma3n(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    for (ours, theirs) in [
        ("altup_active_idx", "altup.active_idx"),
        ("altup_num_inputs", "altup.num_inputs"),
        ("hidden_size_per_layer_input", "embedding_length_per_layer_input"),
        ("num_kv_shared_layers", "attention.shared_kv_layers"),
    ] {
        config.insert(ours.into(), json!(keys.needed(theirs)?));
    }
    // The tables are as long as the list of tokens; nothing is infinite in JSON, but null.
    config.insert("vocab_size_per_layer_input".into(), json!(keys.vocab_size()?));
    if let Some(scale) = keys.metadata.get_f32s(&keys.key("activation_sparsity_scale")) {
        config.insert("activation_sparsity_scale".into(), json!(scale));
    }
    Ok(())
}
