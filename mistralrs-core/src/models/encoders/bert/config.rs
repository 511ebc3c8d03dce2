//! `config.json` of BERT, RoBERTa and XLM-RoBERTa. Knows no weights.

use crate::error::LoadError;
use crate::layers::encoder::Activation;
use crate::models::encoders::{EncoderShape, check_sizes, dimension, parse};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The keys of the family, published defaults filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    hidden_act: String,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f64,
    pub(super) pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    is_decoder: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: None,
            position_embedding_type: None,
            is_decoder: false,
        }
    }
}

impl BertConfig {
    /// Reads `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub(super) fn parse(file: &Path, json: &Value) -> Result<Self, LoadError> {
        parse(file, json, Self::check)
    }

    fn check(&self) -> Result<(), String> {
        dimension("vocab_size", self.vocab_size)?;
        dimension("intermediate_size", self.intermediate_size)?;
        dimension("type_vocab_size", self.type_vocab_size)?;
        check_sizes(self.num_hidden_layers, self.hidden_size, self.num_attention_heads)?;
        if !(self.layer_norm_eps.is_finite() && self.layer_norm_eps >= 0.0) {
            return Err(format!("`layer_norm_eps` is {}", self.layer_norm_eps));
        }
        dimension("max_position_embeddings", self.max_position_embeddings)?;
        self.activation()?;
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") if !self.is_decoder => Ok(()),
            None | Some("absolute") => Err("`is_decoder`: a decoder BERT is not supported".into()),
            Some(other) => {
                Err(format!("`position_embedding_type` {other} is not supported; only absolute"))
            }
        }
    }

    /// Between the two layers of the MLP.
    pub(super) fn activation(&self) -> Result<Activation, String> {
        Activation::from_name(&self.hidden_act)
            .ok_or_else(|| format!("`hidden_act` {} is not supported", self.hidden_act))
    }

    /// Positions before the first token's: RoBERTa counts from behind the padding id.
    pub(super) fn roberta_offset(&self) -> usize {
        self.pad_token_id.unwrap_or(1) as usize + 1
    }

    /// The sizes, where positions before `first_position` stand for no token.
    pub(super) fn shape(&self, first_position: usize) -> EncoderShape {
        let hidden = self.hidden_size;
        let context = self.max_position_embeddings.saturating_sub(first_position).max(1);
        // The residual and a layer's output; then q, k, v and the attended, or the MLP's one.
        let activations = 3 * hidden + (4 * hidden).max(self.intermediate_size);
        EncoderShape::new(hidden, self.vocab_size, context, activations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_is_named() {
        let parse = |json| BertConfig::parse(Path::new("config.json"), &json).map(|_| ());
        assert!(parse(json!({})).is_ok());
        assert!(
            parse(json!({"position_embedding_type": "absolute", "pad_token_id": null})).is_ok()
        );
        for (json, word) in [
            (json!({"hidden_size": 0}), "hidden_size"),
            (json!({"hidden_size": -1}), "-1"),
            (json!({"num_attention_heads": 7}), "7 heads"),
            (json!({"num_hidden_layers": 1e18}), "num_hidden_layers"),
            (json!({"hidden_act": "snake"}), "snake"),
            (json!({"position_embedding_type": "relative_key"}), "relative_key"),
            (json!({"is_decoder": true}), "is_decoder"),
            (json!({"type_vocab_size": 0}), "type_vocab_size"),
            (json!({"layer_norm_eps": -1.0}), "layer_norm_eps"),
        ] {
            let error = parse(json.clone()).unwrap_err().to_string();
            assert!(error.contains(word) || error.contains("invalid"), "{json}: {error}");
        }
    }
}
