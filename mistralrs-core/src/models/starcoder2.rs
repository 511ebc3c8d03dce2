//! StarCoder2: LayerNorm, biases everywhere, an MLP without a gate, a window in every layer.
//! Source: `modeling_starcoder2.py` of Hugging Face transformers; arXiv 2402.19173.

use super::config::TextConfig;
use super::{Architecture, Model, ModelShape, config, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::encoder::{Activation, LayerNorm};
use crate::layers::{Attention, AttentionBiases, CausalLm, DecoderLayer, Step};
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use mistralrs_quant::Linear;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded StarCoder2.
#[derive(Debug)]
pub struct StarCoder2(CausalLm<Layer, LayerNorm>);

/// The keys of a StarCoder2.
#[derive(Debug, Clone, PartialEq)]
pub struct StarCoder2Config {
    text: TextConfig,
    own: OwnKeys,
    activation: Activation,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct OwnKeys {
    norm_epsilon: f64,
    use_bias: bool,
}

/// `x + attention(norm(x))`, then `x + proj(act(fc(norm(x))))`.
#[derive(Debug)]
struct Layer {
    input_layernorm: LayerNorm,
    self_attn: Attention,
    post_attention_layernorm: LayerNorm,
    c_fc: Linear,
    activation: Activation,
    c_proj: Linear,
}

impl DecoderLayer for Layer {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let x = (x + self.self_attn.forward(&self.input_layernorm.forward(x)?, step)?)?;
        let inner = self.c_fc.forward(&self.post_attention_layernorm.forward(&x)?)?;
        &x + self.c_proj.forward(&self.activation.forward(inner)?)?
    }
}

impl Architecture for StarCoder2 {
    type Config = StarCoder2Config;

    fn config(file: &Path, json: &Value) -> std::result::Result<StarCoder2Config, LoadError> {
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let defaults = json!({
            "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 4096,
            "num_key_value_heads": 2, "norm_epsilon": 1e-5, "use_bias": true,
            "tie_word_embeddings": true,
        });
        let json = config::with_defaults(json, defaults);
        let text = TextConfig::parse(file, &json)?;
        let own = OwnKeys::deserialize(&json).map_err(|error| bad(error.to_string()))?;
        if !(own.norm_epsilon.is_finite() && own.norm_epsilon >= 0.0) {
            return Err(bad(format!("`norm_epsilon` is {}", own.norm_epsilon)));
        }
        let Some(activation) = Activation::from_name(&text.hidden_act) else {
            return Err(bad(format!(
                "`hidden_act` is {}, which is not supported",
                text.hidden_act
            )));
        };
        Ok(StarCoder2Config { text, own, activation })
    }

    fn shape(config: &StarCoder2Config) -> ModelShape {
        decoder::shape(&config.text).with_windows(|_| config.text.sliding_window)
    }

    fn load(config: &StarCoder2Config, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let StarCoder2Config { text, own, activation } = config;
        let (hidden, inner, bias) = (text.hidden_size, text.intermediate_size, own.use_bias);
        let norm = |weights: Weights| LayerNorm::load(&weights, hidden, own.norm_epsilon, true);
        let params =
            AttentionParams { window: text.sliding_window, ..decoder::attention_params(text) };
        let biases = AttentionBiases { qkv: bias, output: bias };
        let last = norm(weights.pp("model").pp("norm"))?;
        let lm = decoder::load_around(text, weights, last, |number, weights| {
            let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
            Ok(Layer {
                input_layernorm: norm(weights.pp("input_layernorm"))?,
                self_attn: Attention::load(&attention, number, hidden, params, biases)?,
                post_attention_layernorm: norm(weights.pp("post_attention_layernorm"))?,
                c_fc: mlp.pp("c_fc").linear(inner, hidden, bias)?,
                activation: *activation,
                c_proj: mlp.pp("c_proj").linear(hidden, inner, bias)?,
            })
        })?;
        Ok(Self(lm))
    }
}

impl Model for StarCoder2 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        self.0.forward(batch, kv)
    }
}
