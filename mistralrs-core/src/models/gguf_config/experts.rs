//! What a GGUF file says of a mixture of experts, as the keys of its Hugging Face config. What
//! llama.cpp knows of an architecture without a key (whether weights are normalized) is said here.
//! Of YaRN's two weights files hold one; published models have them equal.
//! Source: the key list of the GGUF specification and the names llama.cpp's converter writes.

use super::Keys;
use crate::error::LoadError;
use serde_json::{Map, Value, json};

/// V2 and V3.
const DEEPSEEK: &str = "deepseek2";
/// `expert_gating_func`: each score by itself.
const SIGMOID: u64 = 2;

/// The name in the registry where several mixtures, or models with and without, have one GGUF name.
fn name(keys: &Keys<'_>) -> Result<Option<&'static str>, LoadError> {
    Ok(match keys.prefix {
        "llama" => Some("MixtralForCausalLM"),
        DEEPSEEK if keys.number("expert_gating_func")? == Some(SIGMOID) => {
            Some("DeepseekV3ForCausalLM")
        }
        _ => None,
    })
}

/// Adds the keys of a mixture, if the file has one.
pub(super) fn add(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    let Some(experts) = keys.number("expert_count")?.filter(|experts| *experts > 0) else {
        return Ok(());
    };
    let used = keys.needed("expert_used_count")?;
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    set("num_experts_per_tok", json!(used));
    if let Some(name) = name(keys)? {
        set("architectures", json!([name]));
    }
    match keys.prefix {
        "qwen2moe" | "qwen3moe" | "qwen3vlmoe" => {
            set("num_experts", json!(experts));
            // Older files do not say: the width of all used experts together is that of an MLP.
            let whole = keys.needed("feed_forward_length")?;
            let width = keys.number("expert_feed_forward_length")?;
            set("moe_intermediate_size", json!(width.or(whole.checked_div(used)).unwrap_or(0)));
            let shared = keys.number("expert_shared_feed_forward_length")?.unwrap_or(whole);
            set("shared_expert_intermediate_size", json!(shared));
            set("norm_topk_prob", json!(keys.prefix != "qwen2moe"));
        }
        DEEPSEEK => {
            set("n_routed_experts", json!(experts));
            deepseek_experts(keys, &mut set)?;
        }
        _ => set("num_local_experts", json!(experts)),
    }
    Ok(())
}

fn deepseek_experts(keys: &Keys<'_>, set: &mut impl FnMut(&str, Value)) -> Result<(), LoadError> {
    set("moe_intermediate_size", json!(keys.needed("expert_feed_forward_length")?));
    set("n_shared_experts", json!(keys.number("expert_shared_count")?.unwrap_or(0)));
    set("first_k_dense_replace", json!(keys.number("leading_dense_block_count")?.unwrap_or(0)));
    set("routed_scaling_factor", json!(keys.float("expert_weights_scale").unwrap_or(1.0)));
    let normalize = keys.metadata.get_bool(&keys.key("expert_weights_norm"));
    set("norm_topk_prob", json!(normalize.unwrap_or(false)));
    let groups = keys.number("expert_group_count")?.unwrap_or(1);
    set("n_group", json!(groups));
    set("topk_group", json!(keys.number("expert_group_used_count")?.unwrap_or(groups)));
    // V3 has but one method, and the key may be absent.
    if keys.number("expert_gating_func")? != Some(SIGMOID) {
        set("topk_method", json!(if groups > 1 { "group_limited_greedy" } else { "greedy" }));
    }
    Ok(())
}

/// The widths of latent attention, which has no one width of heads; `None` for other architectures.
pub(super) fn latent_widths(
    keys: &Keys<'_>,
    config: &mut Map<String, Value>,
) -> Result<Option<u64>, LoadError> {
    if keys.prefix != DEEPSEEK {
        return Ok(None);
    }
    let rope = keys.needed("rope.dimension_count")?;
    // Later files speak of latents in the older keys and have others for what they were.
    let either = |newer, older| match keys.number(newer)? {
        Some(width) => Ok(width),
        None => keys.needed(older),
    };
    let key = either("attention.key_length_mla", "attention.key_length")?;
    let value = either("attention.value_length_mla", "attention.value_length")?;
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    set("qk_rope_head_dim", json!(rope));
    set("qk_nope_head_dim", json!(key.saturating_sub(rope)));
    set("v_head_dim", json!(value));
    set("kv_lora_rank", json!(keys.needed("attention.kv_lora_rank")?));
    set("q_lora_rank", json!(keys.number("attention.q_lora_rank")?));
    Ok(Some(rope))
}

/// What YaRN's `mscale` and `mscale_all_dim` were: the file has a tenth of the latter.
pub(super) fn yarn_sharpness(keys: &Keys<'_>, rope: &mut Map<String, Value>) {
    if let Some(tenth) = keys.float("rope.scaling.yarn_log_multiplier") {
        rope.insert("mscale".into(), json!(10.0 * tenth));
        rope.insert("mscale_all_dim".into(), json!(10.0 * tenth));
    }
    for key in ["beta_fast", "beta_slow"] {
        if let Some(turns) = keys.float(&format!("rope.scaling.yarn_{key}")) {
            rope.insert(key.into(), json!(turns));
        }
    }
}
