//! DeepSeek-V2 and -V3 (R1): latent attention; after some dense layers, mixtures of many small experts
//! beside shared ones. The two differ in how tokens find their experts.
//! Source: `modeling_deepseek_v2.py`, `modeling_deepseek_v3.py` of Hugging Face transformers; arXiv
//! 2405.04434, 2412.19437.

use super::config::{RopeScaling, TextConfig};
use super::moe::{self, Keys, MoeConfig};
use super::{Architecture, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::{
    CausalLm, ExpertGroups, FeedForward, GatedMlp, LatentAttention, LatentShape, PreNormLayer,
    Routing, Scores, SharedExpert, SparseMoe,
};
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::marker::PhantomData;
use std::path::Path;

/// A loaded model of one of the two editions.
#[derive(Debug)]
pub struct DeepSeek<E> {
    lm: CausalLm<PreNormLayer<LatentAttention, FeedForward>>,
    edition: PhantomData<E>,
}

/// Where V2 and V3 differ.
pub trait Edition: Send + 'static {
    /// What the published configuration says where a file is silent.
    fn defaults() -> Value;

    /// How tokens find their experts.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    fn routing(keys: &Keys<'_>) -> Result<Routing, LoadError>;
}

/// Shares of one; the best groups are those with the best single expert.
#[derive(Debug)]
pub struct V2;

/// Sigmoids with a correction; the best groups are those with the best pair.
#[derive(Debug)]
pub struct V3;

impl Edition for V2 {
    fn defaults() -> Value {
        json!({
            "intermediate_size": 11008, "moe_intermediate_size": 1407, "n_routed_experts": 64,
            "n_shared_experts": 2, "first_k_dense_replace": 0, "kv_lora_rank": 512,
            "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "topk_method": "greedy", "routed_scaling_factor": 1.0,
        })
    }

    fn routing(keys: &Keys<'_>) -> Result<Routing, LoadError> {
        keys.only("scoring_func", &[json!("softmax")])?;
        keys.only("topk_method", &[json!("greedy"), json!("group_limited_greedy")])?;
        // The reference implementations disagree on what it means.
        keys.only("norm_topk_prob", &[json!(false)])?;
        let grouped = keys.get("topk_method") == Some(&json!("group_limited_greedy"));
        let groups = grouped.then(|| groups(keys, 1)).transpose()?;
        routing(keys, Scores::Softmax, groups, false)
    }
}

impl Edition for V3 {
    fn defaults() -> Value {
        json!({
            "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
            "n_shared_experts": 1, "first_k_dense_replace": 3, "kv_lora_rank": 512,
            "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "norm_topk_prob": true,
            "routed_scaling_factor": 2.5, "max_position_embeddings": 4096,
        })
    }

    fn routing(keys: &Keys<'_>) -> Result<Routing, LoadError> {
        keys.only("scoring_func", &[json!("sigmoid")])?;
        keys.only("topk_method", &[json!("noaux_tc")])?;
        let groups = groups(keys, 2)?;
        routing(keys, Scores::Sigmoid, Some(groups), keys.flag("norm_topk_prob", true)?)
    }
}

fn groups(keys: &Keys<'_>, best: usize) -> Result<ExpertGroups, LoadError> {
    let (count, kept) = (keys.size(&["n_group"])?, keys.size(&["topk_group"])?);
    Ok(ExpertGroups { count, kept, best })
}

fn routing(
    keys: &Keys<'_>,
    scores: Scores,
    groups: Option<ExpertGroups>,
    normalize: bool,
) -> Result<Routing, LoadError> {
    keys.routing(Routing {
        experts: keys.size(&["n_routed_experts", "num_local_experts", "num_experts"])?,
        top_k: keys.size(&["num_experts_per_tok"])?,
        // Sigmoids come with a correction.
        corrected: scores == Scores::Sigmoid,
        scores,
        groups,
        normalize,
        scale: keys.float("routed_scaling_factor", 1.0)? as f32,
    })
}

/// The keys of either edition.
#[derive(Debug, Clone, PartialEq)]
pub struct DeepSeekConfig {
    moe: MoeConfig,
    attention: LatentShape,
    /// Multiplies attention scores.
    scale: f32,
    interleaved: bool,
    dense_layers: usize,
    /// Layers after the last that predict further tokens; not computed here.
    further_layers: usize,
}

impl<E: Edition> Architecture for DeepSeek<E> {
    type Config = DeepSeekConfig;

    fn config(file: &Path, json: &Value) -> Result<DeepSeekConfig, LoadError> {
        let mut keys = Keys::new(file, json, E::defaults());
        keys.only("moe_layer_freq", &[json!(1)])?;
        let rope = keys.size(&["qk_rope_head_dim"])?;
        // Nothing else has heads of this width here: rotation is what asks for it.
        keys.set("head_dim", rope);
        let (text, routing) = (keys.text()?, E::routing(&keys)?);
        let attention = LatentShape {
            hidden: text.hidden_size,
            heads: text.num_attention_heads,
            // With null queries have no latent; without the key they do.
            q_rank: keys.number("q_lora_rank")?.filter(|rank| *rank > 0),
            kv_rank: keys.size(&["kv_lora_rank"])?,
            nope: keys.size(&["qk_nope_head_dim"])?,
            rope,
            value: keys.size(&["v_head_dim"])?,
        };
        let intermediate = keys.size(&["moe_intermediate_size"])?;
        let shared = keys.number("n_shared_experts")?.unwrap_or(0);
        Ok(DeepSeekConfig {
            scale: sharpness(&keys, &text)?.powi(2) / ((attention.nope + rope) as f32).sqrt(),
            attention,
            interleaved: keys.flag("rope_interleave", true)?,
            dense_layers: keys.number("first_k_dense_replace")?.unwrap_or(0),
            further_layers: keys.number("num_nextn_predict_layers")?.unwrap_or(0),
            moe: MoeConfig { text, routing, intermediate, shared: shared * intermediate },
        })
    }

    fn shape(config: &DeepSeekConfig) -> ModelShape {
        let text = &config.moe.text;
        let mlp = (3 * text.intermediate_size).max(config.moe.activations());
        ModelShape {
            kv: config.attention.kv(text.num_hidden_layers),
            activations_per_token: 4 * text.hidden_size + mlp.max(config.attention.activations()),
            tower: None,
            ..decoder::shape(text)
        }
    }

    fn load(config: &DeepSeekConfig, weights: &Weights) -> Result<Self, LoadError> {
        let text = &config.moe.text;
        let mut lm = decoder::load(text, weights, |number, weights| {
            let (shape, scale, bias) = (config.attention, config.scale, text.attention_bias);
            let attention = weights.pp("self_attn");
            let attention = LatentAttention::load(&attention, number, shape, scale, bias)?;
            moe::layer(text, weights, attention, config.mlp(number, &weights.pp("mlp"))?)
        })?;
        if config.interleaved {
            lm.rope = lm.rope.interleaved();
        }
        let layers = weights.pp("model").pp("layers");
        for further in 0..config.further_layers {
            layers.pp(text.num_hidden_layers + further).ignore();
        }
        Ok(Self { lm, edition: PhantomData })
    }
}

impl DeepSeekConfig {
    fn mlp(&self, layer: usize, weights: &Weights) -> Result<FeedForward, LoadError> {
        let MoeConfig { text, routing, intermediate, shared } = &self.moe;
        let (hidden, bias) = (text.hidden_size, text.mlp_bias);
        if layer < self.dense_layers {
            let mlp = GatedMlp::load(weights, hidden, text.intermediate_size, bias)?;
            return Ok(FeedForward::Dense(mlp));
        }
        let shared = match shared {
            0 => None,
            width => {
                let mlp = GatedMlp::load(&weights.pp("shared_experts"), hidden, *width, bias)?;
                Some(SharedExpert { mlp, gate: None })
            }
        };
        let moe = SparseMoe::load(weights, hidden, *intermediate, routing.clone(), shared)?;
        Ok(FeedForward::Sparse(Box::new(moe)))
    }
}

/// What YaRN multiplies queries and keys with beyond what rotation does, by `mscale_all_dim`.
fn sharpness(keys: &Keys<'_>, text: &TextConfig) -> Result<f32, LoadError> {
    let rope = keys.get("rope_parameters").or_else(|| keys.get("rope_scaling"));
    let number = |key: &str| rope.and_then(|rope| rope.get(key)).and_then(Value::as_f64);
    let (weight, factor) = (number("mscale_all_dim"), number("factor"));
    match (weight.filter(|weight| *weight != 0.0), factor) {
        (Some(weight), Some(factor)) if text.rope.scaling != RopeScaling::None => {
            Ok(if factor > 1.0 { (0.1 * weight * factor.ln() + 1.0) as f32 } else { 1.0 })
        }
        _ => Ok(1.0),
    }
}

impl<E: Edition> Model for DeepSeek<E> {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.lm.forward(batch, kv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv_cache::KvNumbers;

    fn config<E: Edition>(extra: Value) -> Result<DeepSeekConfig, String> {
        let mut json = json!({
            "hidden_size": 64, "num_hidden_layers": 6, "vocab_size": 8, "num_attention_heads": 4,
            "num_experts_per_tok": 6,
        });
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        DeepSeek::<E>::config(Path::new("config.json"), &json).map_err(|error| error.to_string())
    }

    #[test]
    fn silent_keys_are_the_published_ones() {
        let v2 = config::<V2>(json!({})).unwrap();
        assert_eq!((v2.moe.routing.experts, v2.moe.routing.groups), (64, None));
        assert_eq!((v2.moe.intermediate, v2.moe.shared, v2.dense_layers), (1407, 2 * 1407, 0));
        assert_eq!((v2.attention.q_rank, v2.attention.kv_rank), (Some(1536), 512));
        assert_eq!((v2.attention.nope, v2.attention.rope, v2.attention.value), (128, 64, 128));
        let v3 = config::<V3>(json!({})).unwrap();
        let groups = Some(ExpertGroups { count: 8, kept: 4, best: 2 });
        assert_eq!((v3.moe.routing.experts, v3.moe.routing.groups), (256, groups));
        assert_eq!((v3.moe.routing.scale, v3.moe.routing.normalize), (2.5, true));
        assert_eq!((v3.dense_layers, v3.interleaved, v3.further_layers), (3, true, 0));
    }

    #[test]
    fn the_cache_holds_one_latent_and_one_key() {
        let shape = DeepSeek::<V3>::shape(&config::<V3>(json!({})).unwrap());
        let bytes = |numbers| shape.kv.bytes_per_token(None, numbers);
        assert_eq!(bytes(KvNumbers::F32), 6 * (512 + 64) * 4);
        assert_eq!(bytes(KvNumbers::Q8), 6 * (576 + 2 * 18));
    }

    #[test]
    fn null_and_silence_differ_for_queries() {
        let rank = |extra| config::<V2>(extra).unwrap().attention.q_rank;
        assert_eq!(rank(json!({"q_lora_rank": null})), None);
        assert_eq!(rank(json!({"q_lora_rank": 12})), Some(12));
    }

    #[test]
    fn scores_are_sharpened_by_yarn_alone() {
        let scale = |rope: Value| config::<V3>(json!({"rope_scaling": rope})).unwrap().scale;
        let plain = 1.0 / 192f32.sqrt();
        assert_eq!(scale(json!(null)), plain);
        let yarn = |weight: Option<f64>| {
            scale(json!({"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": weight,
                "original_max_position_embeddings": 4096}))
        };
        let wanted = plain * (0.1 * 40f32.ln() + 1.0).powi(2);
        assert!((yarn(Some(1.0)) / wanted - 1.0).abs() < 1e-6);
        assert_eq!((yarn(Some(0.0)), yarn(None)), (plain, plain));
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        let error = |extra| config::<V2>(extra).unwrap_err();
        assert!(error(json!({"scoring_func": "sigmoid"})).contains("scoring_func"));
        assert!(error(json!({"norm_topk_prob": true})).contains("norm_topk_prob"));
        assert!(error(json!({"moe_layer_freq": 2})).contains("moe_layer_freq"));
        let grouped = json!({"topk_method": "group_limited_greedy", "n_group": 7, "topk_group": 3});
        assert!(error(grouped).contains("3 of 7 groups of 64"));
        assert!(error(json!({"topk_method": "group_limited_greedy"})).contains("`n_group`"));
        assert!(error(json!({"num_experts_per_tok": 65})).contains("65, of 64"));
        assert!(error(json!({"qk_rope_head_dim": 0})).contains("qk_rope_head_dim"));
        assert!(config::<V3>(json!({"topk_method": "greedy"})).is_err());
    }
}
