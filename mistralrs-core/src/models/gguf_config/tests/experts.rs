//! The keys of mixtures, and what their absence means.

use super::*;

fn json(architecture: &str, keys: &[(&str, gguf::Value)]) -> Result<Value, String> {
    let metadata = metadata(architecture, |metadata| {
        for (key, value) in keys {
            metadata.insert(format!("{architecture}.{key}"), value.clone());
        }
    });
    config_from_gguf(&metadata).map_err(|error| error.to_string())
}

fn number(number: u32) -> gguf::Value {
    gguf::Value::U32(number)
}

fn check(found: &Value, wanted: &[(&str, Value)]) {
    for (key, wanted) in wanted {
        assert_eq!(found.get(key), Some(wanted), "{key}");
    }
}

#[test]
fn llama_with_experts_is_mixtral() {
    let counts = [("expert_count", number(8)), ("expert_used_count", number(2))];
    let found = json("llama", &counts).unwrap();
    check(
        &found,
        &[
            ("architectures", json!(["MixtralForCausalLM"])),
            ("num_local_experts", json!(8)),
            ("num_experts_per_tok", json!(2)),
        ],
    );
    let window = [&counts[..], &[("attention.sliding_window", number(9))]].concat();
    let windowed = json("llama", &window).unwrap();
    check(
        &windowed,
        &[("architectures", json!(["MixtralForCausalLM"])), ("sliding_window", json!(9))],
    );
    let error = json("llama", &counts[..1]).unwrap_err();
    assert!(error.contains("`llama.expert_used_count` is missing"), "{error}");
    let none = json("llama", &[("expert_count", number(0))]).unwrap();
    check(&none, &[("architectures", json!(["LlamaForCausalLM"]))]);
}

#[test]
fn qwen_says_or_implies_its_widths() {
    let counts = vec![("expert_count", number(60)), ("expert_used_count", number(4))];
    let silent = json("qwen2moe", &counts).unwrap();
    check(
        &silent,
        &[
            ("num_experts", json!(60)),
            ("moe_intermediate_size", json!(172 / 4)),
            ("shared_expert_intermediate_size", json!(172)),
            ("norm_topk_prob", json!(false)),
        ],
    );
    let widths = [
        ("expert_feed_forward_length", number(11)),
        ("expert_shared_feed_forward_length", number(13)),
    ];
    let said = json("qwen3moe", &[counts, widths.to_vec()].concat()).unwrap();
    check(
        &said,
        &[
            ("architectures", json!(["Qwen3MoeForCausalLM"])),
            ("moe_intermediate_size", json!(11)),
            ("shared_expert_intermediate_size", json!(13)),
            ("norm_topk_prob", json!(true)),
        ],
    );
}

#[test]
fn deepseek_of_either_edition_and_age() {
    let older = vec![
        ("expert_count", number(64)),
        ("expert_used_count", number(6)),
        ("expert_feed_forward_length", number(14)),
        ("attention.kv_lora_rank", number(20)),
        ("attention.key_length", number(24)),
        ("attention.value_length", number(10)),
    ];
    let v2 = json("deepseek2", &older).unwrap();
    check(
        &v2,
        &[
            ("architectures", json!(["DeepseekV2ForCausalLM"])),
            ("n_routed_experts", json!(64)),
            ("topk_method", json!("greedy")),
            ("q_lora_rank", Value::Null),
            ("kv_lora_rank", json!(20)),
            ("qk_rope_head_dim", json!(8)),
            ("qk_nope_head_dim", json!(16)),
            ("v_head_dim", json!(10)),
            ("n_shared_experts", json!(0)),
            ("first_k_dense_replace", json!(0)),
            ("routed_scaling_factor", json!(1.0)),
            ("norm_topk_prob", json!(false)),
        ],
    );
    let newer = [
        older,
        vec![
            ("expert_gating_func", number(2)),
            ("expert_group_count", number(8)),
            ("expert_group_used_count", number(4)),
            ("expert_weights_norm", gguf::Value::Bool(true)),
            ("expert_weights_scale", gguf::Value::F32(2.5)),
            ("expert_shared_count", number(1)),
            ("leading_dense_block_count", number(3)),
            ("attention.q_lora_rank", number(30)),
            ("attention.key_length", number(28)),
            ("attention.value_length", number(20)),
            ("attention.key_length_mla", number(24)),
            ("attention.value_length_mla", number(10)),
            ("rope.scaling.type", gguf::Value::String("yarn".into())),
            ("rope.scaling.factor", gguf::Value::F32(40.0)),
            ("rope.scaling.original_context_length", number(4096)),
            ("rope.scaling.yarn_log_multiplier", gguf::Value::F32(0.1)),
            ("rope.scaling.yarn_beta_fast", gguf::Value::F32(16.0)),
        ],
    ]
    .concat();
    let v3 = json("deepseek2", &newer).unwrap();
    check(
        &v3,
        &[
            ("architectures", json!(["DeepseekV3ForCausalLM"])),
            ("n_group", json!(8)),
            ("topk_group", json!(4)),
            ("norm_topk_prob", json!(true)),
            ("routed_scaling_factor", json!(2.5)),
            ("n_shared_experts", json!(1)),
            ("first_k_dense_replace", json!(3)),
            ("q_lora_rank", json!(30)),
            ("qk_nope_head_dim", json!(16)),
            ("v_head_dim", json!(10)),
        ],
    );
    check(
        &v3["rope_parameters"],
        &[
            ("rope_type", json!("yarn")),
            ("factor", json!(40.0)),
            ("mscale", json!(1.0)),
            ("mscale_all_dim", json!(1.0)),
            ("beta_fast", json!(16.0)),
        ],
    );
    assert_eq!(v3.get("topk_method"), None);
}
