//! Every published option is felt: a fixture whose config says something else no longer gives its
//! golden. What an option's fixture proves, it proves because of this.

use crate::answers::{ask, load};
use crate::distance::{TOLERANCE, scored};
use mistralrs_core::Llm;
use mistralrs_testkit::{copy_of, golden};
use serde_json::{Value, json};

/// Whether an answer is clearly not the golden.
fn is_other(llm: &Llm, name: &str) -> bool {
    golden(name).cases.iter().any(|case| {
        let answer = ask(llm, &case.prompt, scored(case));
        let prompt = answer.prompt_logprobs.iter().flatten().zip(&case.prompt_logprobs);
        let mut prompt = prompt.map(|(ours, theirs)| (ours.chosen.logprob - theirs.logprob).abs());
        answer.token_ids != case.greedy_ids() || prompt.any(|distance| distance > 10. * TOLERANCE)
    })
}

/// Fixtures, and what their configs could say instead.
type Table = Vec<(&'static str, Vec<(&'static str, Value)>)>;

/// Families with a window, caps, multipliers or rotations of their own.
fn dense() -> Table {
    vec![
        ("mistral", vec![("/sliding_window", json!(12))]),
        (
            "qwen3",
            vec![
                ("/use_sliding_window", json!(false)),
                ("/layer_types/1", json!("full_attention")),
            ],
        ),
        (
            "gemma2",
            vec![
                ("/attn_logit_softcapping", json!(30.0)),
                ("/final_logit_softcapping", json!(null)),
                ("/query_pre_attn_scalar", json!(10)),
                ("/layer_types/0", json!("full_attention")),
                ("/hidden_activation", json!("silu")),
            ],
        ),
        (
            "gemma3",
            vec![
                ("/rope_parameters/full_attention/factor", json!(1.0)),
                ("/rope_parameters/sliding_attention/rope_theta", json!(10000.0)),
                ("/layer_types/2", json!("sliding_attention")),
                ("/query_pre_attn_scalar", json!(10)),
                ("/final_logit_softcapping", json!(null)),
            ],
        ),
        (
            "phi3",
            vec![
                ("/rope_parameters/long_factor/0", json!(1.0)),
                ("/rope_parameters/short_factor/0", json!(2.0)),
                ("/original_max_position_embeddings", json!(64)),
                // The attention factor follows from the growth.
                ("/max_position_embeddings", json!(512)),
                ("/sliding_window", json!(null)),
            ],
        ),
        ("smollm3", vec![("/no_rope_layers/3", json!(1)), ("/use_sliding_window", json!(false))]),
        (
            "granite",
            vec![
                ("/embedding_multiplier", json!(2.0)),
                ("/attention_multiplier", json!(0.2)),
                ("/residual_multiplier", json!(1.0)),
                ("/logits_scaling", json!(1.0)),
            ],
        ),
        ("seed-oss", vec![("/rope_parameters/rope_theta", json!(100.0))]),
        (
            "olmo2",
            vec![("/rms_norm_eps", json!(0.1)), ("/rope_parameters/rope_theta", json!(100.0))],
        ),
        ("glm4", vec![("/rope_parameters/partial_rotary_factor", json!(1.0))]),
        (
            "starcoder2",
            vec![
                ("/norm_epsilon", json!(0.1)),
                ("/sliding_window", json!(null)),
                ("/hidden_act", json!("relu")),
            ],
        ),
    ]
}

/// Scaled rotations, mixtures of experts, latent attention, streams.
fn others() -> Table {
    vec![
        ("llama-rope-llama3", vec![("/rope_parameters/factor", json!(1.0))]),
        ("llama-rope-linear", vec![("/rope_parameters/factor", json!(1.0))]),
        ("mixtral", vec![("/num_experts_per_tok", json!(1))]),
        ("mixtral-window", vec![("/sliding_window", json!(null))]),
        (
            "qwen2-moe",
            vec![
                ("/norm_topk_prob", json!(false)),
                ("/num_experts_per_tok", json!(2)),
                ("/layer_types/0", json!("full_attention")),
            ],
        ),
        ("qwen2-moe-plain", vec![("/norm_topk_prob", json!(true))]),
        (
            "qwen3-moe",
            vec![("/norm_topk_prob", json!(true)), ("/use_sliding_window", json!(false))],
        ),
        ("qwen3-moe-plain", vec![("/norm_topk_prob", json!(false))]),
        (
            "deepseek-v2",
            vec![
                ("/topk_method", json!("greedy")),
                ("/topk_group", json!(3)),
                ("/routed_scaling_factor", json!(1.0)),
                ("/rope_parameters/factor", json!(1.0)),
                ("/rope_parameters/mscale_all_dim", json!(1.0)),
            ],
        ),
        (
            "deepseek-v3",
            vec![
                ("/topk_group", json!(1)),
                ("/norm_topk_prob", json!(false)),
                ("/routed_scaling_factor", json!(1.0)),
                ("/rope_parameters/mscale_all_dim", json!(0.5)),
            ],
        ),
        (
            "deepseek-v3-halves",
            vec![
                ("/rope_interleave", json!(true)),
                ("/rope_parameters/mscale", json!(1.0)),
                ("/norm_topk_prob", json!(true)),
            ],
        ),
        (
            "gemma3n",
            vec![
                ("/activation_sparsity_pattern/0", json!(0.0)),
                ("/layer_types/0", json!("full_attention")),
                ("/sliding_window", json!(200)),
                ("/altup_active_idx", json!(1)),
                ("/final_logit_softcapping", json!(3.0)),
                ("/rope_parameters/sliding_attention/rope_theta", json!(100.0)),
            ],
        ),
        (
            "gemma3n-nested",
            vec![("/text_config/rope_parameters/full_attention/factor", json!(1.0))],
        ),
    ]
}

#[test]
fn every_published_option_is_felt() {
    mistralrs_core::force_instruction_set("scalar").unwrap();
    let mut unfelt = Vec::new();
    for (name, options) in dense().into_iter().chain(others()) {
        let copy = copy_of(name);
        let file = copy.path().join("config.json");
        let text = std::fs::read_to_string(&file).unwrap();
        for (pointer, value) in options {
            let mut config: Value = serde_json::from_str(&text).unwrap();
            *config.pointer_mut(pointer).unwrap() = value;
            std::fs::write(&file, config.to_string()).unwrap();
            if !is_other(&load(copy.path(), |_| ()), name) {
                unfelt.push(format!("{name}: {pointer}"));
            }
        }
    }
    assert!(unfelt.is_empty(), "changed, and nothing happened: {unfelt:?}");
}
