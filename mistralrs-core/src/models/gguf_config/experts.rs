//! What a GGUF file says of a mixture of experts, as the keys of its Hugging Face config. What
//! llama.cpp knows of an architecture without a key (whether weights are normalized) is said here.
//! Source: the key list of the GGUF specification and the names llama.cpp's converter writes.

use super::Keys;
use crate::error::LoadError;
use serde_json::{Map, Value, json};

/// The name in the registry of an architecture that has the same GGUF name with and without experts.
pub(super) fn with_experts(prefix: &str) -> Option<&'static str> {
    (prefix == "llama").then_some("MixtralForCausalLM")
}

/// Adds the keys of a mixture, if the file has one.
pub(super) fn add(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    let Some(experts) = keys.number("expert_count")?.filter(|experts| *experts > 0) else {
        return Ok(());
    };
    let used = keys.needed("expert_used_count")?;
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    set("num_experts_per_tok", json!(used));
    match keys.prefix {
        "qwen2moe" | "qwen3moe" => {
            set("num_experts", json!(experts));
            // Older files do not say: the width of all used experts together is that of an MLP.
            let whole = keys.needed("feed_forward_length")?;
            let width = keys.number("expert_feed_forward_length")?;
            set("moe_intermediate_size", json!(width.or(whole.checked_div(used)).unwrap_or(0)));
            let shared = keys.number("expert_shared_feed_forward_length")?.unwrap_or(whole);
            set("shared_expert_intermediate_size", json!(shared));
            set("norm_topk_prob", json!(keys.prefix == "qwen3moe"));
        }
        _ => set("num_local_experts", json!(experts)),
    }
    Ok(())
}
