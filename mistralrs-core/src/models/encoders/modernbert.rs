//! ModernBERT: pre-norm layers without biases, rope, GeGLU; most layers see only a window, every
//! third sees all and turns slower.
//! Source: arXiv 2412.13663; `modeling_modernbert.py` of Hugging Face transformers.

mod config;

use super::{Encoder, EncoderArchitecture, EncoderShape, check_labels, parse, root};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::layers::encoder::{
    Activation, ClassificationHead, EncoderAttention, LayerNorm, Pooling,
};
use crate::layers::{RopeTables, RotaryEmbedding};
use crate::weights::Weights;
use candle_core::{Device, Result, Tensor, bail};
use config::ModernBertConfig;
use mistralrs_quant::{Linear, MergedLinear, QuantMethod};
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const PROBE: &str = "embeddings.tok_embeddings.weight";

/// A loaded ModernBERT.
pub struct ModernBert {
    embeddings: Arc<dyn QuantMethod>,
    norm: LayerNorm,
    global_rope: RotaryEmbedding,
    local_rope: RotaryEmbedding,
    layers: Vec<ModernBertLayer>,
    final_norm: LayerNorm,
}

impl EncoderArchitecture for ModernBert {
    type Config = ModernBertConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<ModernBertConfig, LoadError> {
        parse(file, json, ModernBertConfig::check)
    }

    fn shape(config: &ModernBertConfig) -> EncoderShape {
        let hidden = config.hidden_size;
        // The residual, its norm and a layer's output; then q|k|v, its parts and the attended, or the
        // MLP's two and theirs.
        let activations = 3 * hidden + (7 * hidden).max(5 * config.intermediate_size);
        EncoderShape::new(hidden, config.vocab_size, config.max_position_embeddings, activations)
    }

    fn load(config: &ModernBertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let model = root(weights, "model", PROBE);
        let embeddings = model.pp("embeddings");
        let layers = model.pp("layers");
        Ok(Self {
            embeddings: embeddings
                .pp("tok_embeddings")
                .table(config.vocab_size, config.hidden_size)?,
            norm: config.layer_norm(&embeddings.pp("norm"))?,
            global_rope: config.rope(true),
            local_rope: config.rope(false),
            layers: (0..config.num_hidden_layers)
                .map(|number| ModernBertLayer::load(config, number, &layers.pp(number)))
                .collect::<std::result::Result<_, LoadError>>()?,
            final_norm: config.layer_norm(&model.pp("final_norm"))?,
        })
    }
}

impl Encoder for ModernBert {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        let positions = batch.positions();
        let (global, local) =
            (self.global_rope.tables(&positions)?, self.local_rope.tables(&positions)?);
        let ids = Tensor::new(batch.token_ids.as_slice(), &Device::Cpu)?;
        let mut x = self.norm.forward(&self.embeddings.rows(&ids)?)?; // [tokens, hidden]
        for layer in &self.layers {
            let rope = if layer.attention.params.window.is_none() { &global } else { &local };
            x = layer.forward(&x, &batch.spans, rope)?;
        }
        self.final_norm.forward(&x)
    }
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
struct ModernBertLayer {
    /// The first layer has none: the embedding's norm stands right before it.
    attention_norm: Option<LayerNorm>,
    attention: EncoderAttention,
    mlp_norm: LayerNorm,
    /// The activated, and its factor.
    wi: MergedLinear,
    activation: Activation,
    wo: Linear,
}

impl ModernBertLayer {
    fn load(
        config: &ModernBertConfig,
        number: usize,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.num_attention_heads;
        let attention = weights.pp("attn");
        let mlp = weights.pp("mlp");
        let norm = || config.layer_norm(&weights.pp("attn_norm"));
        let qkv = attention.pp("Wqkv").linear(3 * hidden, hidden, config.attention_bias)?;
        let wi = mlp.pp("Wi").linear(2 * inner, hidden, config.mlp_bias)?;
        Ok(Self {
            attention_norm: (number > 0).then(norm).transpose()?,
            attention: EncoderAttention {
                qkv: MergedLinear::stacked(qkv, vec![hidden; 3]),
                output: attention.pp("Wo").linear(hidden, hidden, config.attention_bias)?,
                params: AttentionParams {
                    // Half on each side, itself besides.
                    window: (!config.sees_all(number)).then_some(config.local_attention / 2 + 1),
                    ..AttentionParams::plain(heads, hidden / heads)
                },
            },
            mlp_norm: config.layer_norm(&weights.pp("mlp_norm"))?,
            wi: MergedLinear::stacked(wi, vec![inner; 2]),
            activation: Activation::from_name(&config.hidden_activation)
                .unwrap_or(Activation::Gelu),
            wo: mlp.pp("Wo").linear(hidden, inner, config.mlp_bias)?,
        })
    }

    fn forward(&self, x: &Tensor, spans: &[Range<usize>], rope: &RopeTables) -> Result<Tensor> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let x = (x + self.attention.forward(&normed, spans, Some(rope))?)?;
        let parts = self.wi.forward(&self.mlp_norm.forward(&x)?)?;
        let [gate, factor] = parts.as_slice() else { bail!("gate and factor are two") };
        let inner = (self.activation.forward(gate.clone())? * factor)?;
        &x + self.wo.forward(&inner)?
    }
}

/// `head.dense` → activation → `head.norm` → `classifier`.
///
/// # Errors
/// When a tensor is missing or misshapen, or there are several labels.
pub fn head(
    file: &Path,
    json: &Value,
    weights: &Weights,
) -> std::result::Result<ClassificationHead, LoadError> {
    let config = ModernBert::config(file, json)?;
    check_labels(file, json)?;
    let (hidden, head) = (config.hidden_size, weights.pp("head"));
    Ok(ClassificationHead {
        pooling: if config.classifier_pooling == "mean" { Pooling::Mean } else { Pooling::Cls },
        dense: head.pp("dense").linear(hidden, hidden, config.classifier_bias)?,
        activation: Activation::from_name(&config.classifier_activation)
            .unwrap_or(Activation::Gelu),
        norm: Some(config.layer_norm(&head.pp("norm"))?),
        classifier: weights.pp("classifier").linear(1, hidden, true)?,
    })
}
