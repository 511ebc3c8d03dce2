//! What the metadata of one family says in its own way.
//! Source: the key list of the GGUF specification and what the writers of the files put in it.

use super::{Keys, bad};
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

/// The numbers of frequencies that turn by time, height and width; files have a fourth, which is 0.
pub(super) fn qwen_vl(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    let key = keys.key("rope.dimension_sections");
    let sections = keys.metadata.get_i32s(&key);
    let [time, height, width, rest @ ..] = sections.as_deref().unwrap_or_default() else {
        return Err(bad(format!("`{key}` is missing")));
    };
    if rest.iter().any(|frequencies| *frequencies != 0) {
        return Err(bad(format!("`{key}` has more than time, height and width")));
    }
    if let Some(rope) = config.get_mut("rope_parameters") {
        rope["mrope_section"] = json!([time, height, width]);
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

/// Files do not say by what Gemma 2 divides the scores: the head's width, but for the largest.
pub(super) fn gemma2(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    gemma(keys, config, 46)
}

/// The same for Gemma 3, whose layers with a window have rotations of their own.
pub(super) fn gemma3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    if let Some(theta) = keys.float("rope.freq_base_swa") {
        config.insert("rope_local_base_freq".into(), json!(theta));
    }
    gemma(keys, config, 62)
}

/// `largest`: the number of layers of the model that divides by the width per head of the stream.
fn gemma(keys: &Keys<'_>, config: &mut Map<String, Value>, largest: u64) -> Result<(), LoadError> {
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = keys.float(key) {
            config.insert(key.into(), json!(cap));
        }
    }
    let (hidden, heads) = (keys.needed("embedding_length")?, keys.needed("attention.head_count")?);
    let scalar = match keys.float("attention.scale") {
        Some(scale) => (scale * scale).recip(),
        None if keys.needed("block_count")? == largest => hidden as f64 / heads as f64,
        None => keys.head_dim()? as f64,
    };
    config.insert("query_pre_attn_scalar".into(), json!(scalar));
    Ok(())
}

/// The rest of LongRoPE is in tensors.
pub(super) fn phi3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    if let Some(tokens) = keys.number("rope.scaling.original_context_length")? {
        config.insert("original_max_position_embeddings".into(), json!(tokens));
    }
    if let (Some(factor), Some(rope)) =
        (keys.float("rope.scaling.attn_factor"), config.get_mut("rope_parameters"))
    {
        rope["attention_factor"] = json!(factor);
    }
    Ok(())
}

/// The multipliers, under GGUF's names.
pub(super) fn granite(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    // Without a scale, files mean the usual one.
    let usual = (keys.head_dim()? as f64).sqrt().recip();
    let scale = keys.float("attention.scale").unwrap_or(usual);
    config.insert("attention_multiplier".into(), json!(scale));
    for (theirs, ours) in [
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        if let Some(number) = keys.float(theirs) {
            config.insert(ours.into(), json!(number));
        }
    }
    Ok(())
}

/// The epsilon is that of another norm.
pub(super) fn starcoder2(
    keys: &Keys<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), LoadError> {
    config.insert("norm_epsilon".into(), json!(keys.epsilon()?));
    Ok(())
}
