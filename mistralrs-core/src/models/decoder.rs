//! Loading of what decoder-only models have in common: embedding, rope, layers, norm and head
//! under the names of the Hugging Face checkpoints. A model file says only what differs.

use super::ModelShape;
use super::config::{RopeConfig, RopeScaling, TextConfig};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::kv_cache::KvSpec;
use crate::layers::{
    Activation, Attention, AttentionBiases, CausalLm, GatedMlp, Logits, PreNormLayer, RmsNorm,
    RotaryEmbedding,
};
use crate::weights::Weights;
use mistralrs_quant::{Linear, Place};
use std::sync::Arc;

/// GGUF files carry llama3's stretching as a tensor of divisors, one per frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Where checkpoints of models with other parts than text keep their text model, by its embedding, and
/// what stands there for `model.`; the head is `lm_head` at the root. The oldest names keep the head
/// beside the text model, under one more prefix.
const TEXT_PARTS: &[(&str, &str)] = &[
    ("model.language_model.embed_tokens.weight", "model.language_model."),
    ("model.text_model.embed_tokens.weight", "model.text_model."),
];

/// What the names of the text model's layers and embedding begin with in a checkpoint.
pub fn text_prefix(has: impl Fn(&str) -> bool) -> &'static str {
    if has("language_model.model.embed_tokens.weight") {
        return "language_model.model.";
    }
    TEXT_PARTS.iter().find(|(probe, _)| has(probe)).map_or("model.", |(_, theirs)| theirs)
}

/// The text model's weights under a text model's names, wherever the checkpoint has them.
pub fn text_part(weights: &Weights) -> Weights {
    let old = weights.pp("language_model");
    if old.contains("model.embed_tokens.weight") {
        return old;
    }
    match TEXT_PARTS.iter().find(|(probe, _)| weights.contains(probe)) {
        Some((_, theirs)) => weights.with_renamed("model.", theirs),
        None => weights.clone(),
    }
}

/// Every layer keeps the same and sees everything.
pub fn shape(config: &TextConfig) -> ModelShape {
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    // The residual, its norm and a layer's output; then either q, k, v and the attended, or the MLP's three.
    let attention = (2 * heads + 2 * kv_heads) * config.head_dim;
    let widest = attention.max(3 * config.intermediate_size);
    ModelShape {
        kv: KvSpec::uniform(config.num_hidden_layers, kv_heads, config.head_dim),
        vocab_size: config.vocab_size,
        context: config.max_position_embeddings,
        short_context: config.rope.short_context(),
        indivisible_tokens: 1,
        activations_per_token: 4 * config.hidden_size + widest,
        tower: None,
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

/// The window of Qwen's layers: `layer_types` decides where the file has it, else the layers from
/// `max_window_layers` on slide. Without `use_sliding_window` nothing does.
pub fn qwen_window(config: &TextConfig, layer: usize) -> Option<usize> {
    let slides = config.slides(layer, layer >= config.max_window_layers.unwrap_or(28));
    config.sliding_window.filter(|_| slides && config.use_sliding_window == Some(true))
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
    let norm =
        RmsNorm::load(&weights.pp("model").pp("norm"), config.hidden_size, config.rms_norm_eps)?;
    load_around(config, weights, norm, layer)
}

/// The frame around a last norm of another kind.
///
/// # Errors
/// When a tensor is missing or misshapen.
pub fn load_around<L, N>(
    config: &TextConfig,
    weights: &Weights,
    norm: N,
    layer: impl Fn(usize, &Weights) -> Result<L, LoadError>,
) -> Result<CausalLm<L, N>, LoadError> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let model = weights.pp("model");
    let embed_tokens = model.pp("embed_tokens");
    let own_head = !config.headless && !config.tie_word_embeddings;
    let embed_tokens = match own_head || config.headless {
        true => embed_tokens.table(vocab, hidden)?,
        false => embed_tokens.embedding(vocab, hidden)?,
    };
    let lm_head = match own_head {
        true => weights.pp("lm_head").linear(vocab, hidden, false)?,
        false => Linear::new(Arc::clone(&embed_tokens), None),
    };
    let layers = (0..config.num_hidden_layers)
        .map(|number| layer(number, &model.pp("layers").layer(number)))
        .collect::<Result<_, _>>()?;
    let local_rope = config.local_rope.as_ref();
    Ok(CausalLm {
        places: weights.places().clone(),
        embed_tokens,
        embedding_scale: None,
        rope: rope(config, weights)?,
        local_rope: local_rope.map(|rope| rotary(rope, config.head_dim, weights)),
        layers,
        norm,
        lm_head,
        logits: Logits::Plain,
    })
}

fn rope(config: &TextConfig, weights: &Weights) -> Result<RotaryEmbedding, LoadError> {
    let mut rope: RopeConfig = config.rope.clone();
    if weights.contains(ROPE_FACTORS) {
        let pairs = rope.rotary_dim(config.head_dim) / 2;
        let factors = weights.tensor(ROPE_FACTORS, &[pairs])?;
        let factors = Place::default().take(&factors)?.to_vec1::<f32>()?;
        rope.scaling = RopeScaling::Factors(factors.into_iter().map(f64::from).collect());
    }
    Ok(rotary(&rope, config.head_dim, weights))
}

/// The rotations of heads of `head_dim`.
pub fn rotary(rope: &RopeConfig, head_dim: usize, weights: &Weights) -> RotaryEmbedding {
    let dim = rope.rotary_dim(head_dim);
    let rotary = RotaryEmbedding::new(rope.inverse_frequencies(dim), weights.place());
    let rotary = rotary.scaled(rope.attention_factor() as f32);
    match rope.long_inverse_frequencies(dim) {
        Some(long) => rotary.with_long(long),
        None => rotary,
    }
}

/// The usual pre-norm layer with a gated MLP.
///
/// # Errors
/// When a tensor is missing or misshapen, or the activation is unknown.
pub fn pre_norm_layer(
    config: &TextConfig,
    number: usize,
    weights: &Weights,
    params: AttentionParams,
    biases: AttentionBiases,
) -> Result<PreNormLayer, LoadError> {
    let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
    Ok(PreNormLayer {
        input_layernorm: RmsNorm::load(&weights.pp("input_layernorm"), hidden, eps)?,
        self_attn: Attention::load(&weights.pp("self_attn"), number, hidden, params, biases)?,
        post_attention_layernorm: RmsNorm::load(
            &weights.pp("post_attention_layernorm"),
            hidden,
            eps,
        )?,
        mlp: mlp(config, &weights.pp("mlp"))?,
    })
}

/// `gate_proj`, `up_proj` and `down_proj` with the file's activation.
///
/// # Errors
/// When a tensor is missing or misshapen, or the activation is unknown.
pub fn mlp(config: &TextConfig, weights: &Weights) -> Result<GatedMlp, LoadError> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let mlp = GatedMlp::load(weights, hidden, intermediate, config.mlp_bias)?;
    Ok(mlp.with_activation(activation(config)?))
}

/// The activation of a gated MLP.
///
/// # Errors
/// When it is unknown.
pub fn activation(config: &TextConfig) -> Result<Activation, LoadError> {
    Activation::named(&config.hidden_act).ok_or_else(|| LoadError::BadFile {
        file: "config.json".into(),
        reason: format!(
            "`hidden_act` is {}, which is not supported; supported: silu, gelu_pytorch_tanh",
            config.hidden_act
        ),
    })
}

/// `q_norm` and `k_norm` of an attention, each as wide as one head.
///
/// # Errors
/// When one is missing or misshapen.
pub fn head_norms(
    config: &TextConfig,
    weights: &Weights,
) -> mistralrs_quant::Result<(RmsNorm, RmsNorm)> {
    let norm = |name| RmsNorm::load(&weights.pp(name), config.head_dim, config.rms_norm_eps);
    Ok((norm("q_norm")?, norm("k_norm")?))
}
