//! Loading of what decoder-only models have in common: embedding, rope, layers, norm and head
//! under the names of the Hugging Face checkpoints. A model file says only what differs.

use super::ModelShape;
use super::config::{RopeConfig, RopeScaling, TextConfig};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::kv_cache::KvSpec;
use crate::layers::{
    Attention, AttentionBiases, CausalLm, GatedMlp, PreNormLayer, RotaryEmbedding,
};
use crate::weights::Weights;
use mistralrs_quant::Linear;
use std::sync::Arc;

/// GGUF files carry llama3's stretching as a tensor of divisors, one per frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Every layer keeps the same.
pub fn shape(config: &TextConfig) -> ModelShape {
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    // The residual, its norm and a layer's output; then either q, k, v and the attended, or the MLP's three.
    let attention = (2 * heads + 2 * kv_heads) * config.head_dim;
    let widest = attention.max(3 * config.intermediate_size);
    ModelShape {
        kv: KvSpec::uniform(config.num_hidden_layers, kv_heads, config.head_dim),
        vocab_size: config.vocab_size,
        context: config.max_position_embeddings,
        activations_per_token: 4 * config.hidden_size + widest,
    }
}

/// Plain causal attention: all heads, `1/√head_dim`, no window.
pub fn attention_params(config: &TextConfig) -> AttentionParams {
    AttentionParams {
        num_heads: config.num_attention_heads,
        num_kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: 1.0 / (config.head_dim as f32).sqrt(),
        window: None,
        softcap: None,
    }
}

/// The frame: `model.embed_tokens`, `model.layers.N` by way of `layer`, `model.norm`, `lm_head`.
///
/// # Errors
/// When a tensor is missing or misshapen.
pub fn load<L>(
    config: &TextConfig,
    weights: &Weights,
    layer: impl Fn(usize, &Weights) -> Result<L, LoadError>,
) -> Result<CausalLm<L>, LoadError> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let model = weights.pp("model");
    let embed_tokens = model.pp("embed_tokens").embedding(vocab, hidden)?;
    let lm_head = match config.tie_word_embeddings {
        true => Linear::new(Arc::clone(&embed_tokens), None),
        false => weights.pp("lm_head").linear(vocab, hidden, false)?,
    };
    let layers = (0..config.num_hidden_layers)
        .map(|number| layer(number, &model.pp("layers").pp(number)))
        .collect::<Result<_, _>>()?;
    Ok(CausalLm {
        embed_tokens,
        rope: rope(config, weights)?,
        layers,
        norm: model.pp("norm").norm(hidden, config.rms_norm_eps)?,
        lm_head,
    })
}

fn rope(config: &TextConfig, weights: &Weights) -> Result<RotaryEmbedding, LoadError> {
    let mut rope: RopeConfig = config.rope.clone();
    if weights.contains(ROPE_FACTORS) {
        let factors = weights.tensor(ROPE_FACTORS, &[config.head_dim / 2])?.to_vec1::<f32>()?;
        rope.scaling = RopeScaling::Factors(factors.into_iter().map(f64::from).collect());
    }
    Ok(RotaryEmbedding::new(rope.inverse_frequencies(config.head_dim), &weights.device()))
}

/// The usual pre-norm layer with SwiGLU.
///
/// # Errors
/// When a tensor is missing or misshapen, or the activation is not SiLU.
pub fn pre_norm_layer(
    config: &TextConfig,
    number: usize,
    weights: &Weights,
    params: AttentionParams,
    biases: AttentionBiases,
) -> Result<PreNormLayer, LoadError> {
    if !matches!(config.hidden_act.as_str(), "silu" | "swish") {
        return Err(LoadError::BadFile {
            file: "config.json".into(),
            reason: format!("`hidden_act` is {}; this architecture has silu", config.hidden_act),
        });
    }
    let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
    let mlp = weights.pp("mlp");
    Ok(PreNormLayer {
        input_layernorm: weights.pp("input_layernorm").norm(hidden, eps)?,
        self_attn: Attention::load(&weights.pp("self_attn"), number, hidden, params, biases)?,
        post_attention_layernorm: weights.pp("post_attention_layernorm").norm(hidden, eps)?,
        mlp: GatedMlp::load(&mlp, hidden, config.intermediate_size, config.mlp_bias)?,
    })
}
