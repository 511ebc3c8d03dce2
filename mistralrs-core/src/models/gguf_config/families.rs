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
