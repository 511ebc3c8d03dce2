//! BERT, RoBERTa and XLM-RoBERTa: post-norm layers, learned positions, exact GELU. Most sentence
//! encoders (MiniLM, BGE, E5, GTE) are one of these.
//! Source: arXiv 1810.04805, 1907.11692; `modeling_bert.py`, `modeling_roberta.py` of Hugging Face
//! transformers.

mod config;

use super::{Encoder, EncoderArchitecture, EncoderShape, check_labels, root};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::layers::encoder::{
    Activation, ClassificationHead, EncoderAttention, LayerNorm, Pooling,
};
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use config::BertConfig;
use mistralrs_quant::{Linear, MergedLinear, QuantMethod};
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const PROBE: &str = "embeddings.word_embeddings.weight";

/// A loaded BERT.
pub struct Bert(BertEncoder);

/// A loaded RoBERTa or XLM-RoBERTa: BERT whose positions begin behind the padding id.
pub struct Roberta(BertEncoder);

impl EncoderArchitecture for Bert {
    type Config = BertConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<BertConfig, LoadError> {
        BertConfig::parse(file, json)
    }

    fn shape(config: &BertConfig) -> EncoderShape {
        config.shape(0)
    }

    fn load(config: &BertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        BertEncoder::load(config, &root(weights, "bert", PROBE)).map(Self)
    }
}

impl Encoder for Bert {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        self.0.forward(batch, batch.positions())
    }
}

impl EncoderArchitecture for Roberta {
    type Config = BertConfig;

    fn config(file: &Path, json: &Value) -> std::result::Result<BertConfig, LoadError> {
        BertConfig::parse(file, json)
    }

    fn shape(config: &BertConfig) -> EncoderShape {
        config.shape(config.roberta_offset())
    }

    fn load(config: &BertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        BertEncoder::load(config, &root(weights, "roberta", PROBE)).map(Self)
    }
}

impl Encoder for Roberta {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        let positions = roberta_positions(batch, self.0.padding_id);
        self.0.forward(batch, positions)
    }
}

/// Tokens are counted from behind the padding id; padding tokens in the text are not counted and
/// stand at that id.
fn roberta_positions(batch: &EncoderBatch, padding: u32) -> Vec<u32> {
    let text = |span: &Range<usize>| {
        let mut last = padding;
        let ids = batch.token_ids.get(span.clone()).unwrap_or_default();
        ids.iter()
            .map(|&id| match id == padding {
                true => padding,
                false => {
                    last += 1;
                    last
                }
            })
            .collect::<Vec<_>>()
    };
    batch.spans.iter().flat_map(text).collect()
}

struct BertEncoder {
    word: Arc<dyn QuantMethod>,
    position: Arc<dyn QuantMethod>,
    token_type: Arc<dyn QuantMethod>,
    num_types: u32,
    padding_id: u32,
    norm: LayerNorm,
    layers: Vec<BertLayer>,
}

impl BertEncoder {
    fn load(config: &BertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let embeddings = weights.pp("embeddings");
        let table = |name, rows| embeddings.pp(name).table(rows, hidden);
        let layers = weights.pp("encoder").pp("layer");
        Ok(Self {
            word: table("word_embeddings", config.vocab_size)?,
            position: table("position_embeddings", config.max_position_embeddings)?,
            token_type: table("token_type_embeddings", config.type_vocab_size)?,
            num_types: u32::try_from(config.type_vocab_size).unwrap_or(u32::MAX),
            padding_id: config.pad_token_id.unwrap_or(1),
            norm: LayerNorm::load(
                &embeddings.pp("LayerNorm"),
                hidden,
                config.layer_norm_eps,
                true,
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|number| BertLayer::load(config, &layers.pp(number)))
                .collect::<std::result::Result<_, _>>()?,
        })
    }

    fn forward(&self, batch: &EncoderBatch, positions: Vec<u32>) -> Result<Tensor> {
        let rows = |table: &Arc<dyn QuantMethod>, ids: Vec<u32>| {
            table.rows(&Tensor::new(ids, &candle_core::Device::Cpu)?)
        };
        // A model of one type has no second: pairs count as one text there.
        let types = batch.token_types.iter().map(|ty| (*ty).min(self.num_types - 1)).collect();
        let x = (rows(&self.word, batch.token_ids.clone())? + rows(&self.position, positions)?)?;
        let mut x = self.norm.forward(&(x + rows(&self.token_type, types)?)?)?; // [tokens, hidden]
        for layer in &self.layers {
            x = layer.forward(&x, &batch.spans)?;
        }
        Ok(x)
    }
}

/// `norm(x + attention(x))`, then `norm(x + mlp(x))`.
struct BertLayer {
    attention: EncoderAttention,
    attention_norm: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    output_norm: LayerNorm,
}

impl BertLayer {
    fn load(config: &BertConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.num_attention_heads;
        let (attention, output) = (weights.pp("attention"), weights.pp("output"));
        let own = |name| attention.pp("self").pp(name).linear(hidden, hidden, true);
        let norm = |at: &Weights| {
            LayerNorm::load(&at.pp("LayerNorm"), hidden, config.layer_norm_eps, true)
        };
        let qkv = MergedLinear::new(vec![own("query")?, own("key")?, own("value")?]);
        Ok(Self {
            attention: EncoderAttention {
                qkv,
                output: attention.pp("output").pp("dense").linear(hidden, hidden, true)?,
                params: AttentionParams::plain(heads, hidden / heads),
            },
            attention_norm: norm(&attention.pp("output"))?,
            up: weights.pp("intermediate").pp("dense").linear(inner, hidden, true)?,
            activation: config.activation().unwrap_or(Activation::Gelu),
            down: output.pp("dense").linear(hidden, inner, true)?,
            output_norm: norm(&output)?,
        })
    }

    fn forward(&self, x: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let attended = self.attention.forward(x, spans, None)?;
        let x = self.attention_norm.forward(&(x + attended)?)?;
        let inner = self.activation.forward(self.up.forward(&x)?)?;
        self.output_norm.forward(&(&x + self.down.forward(&inner)?)?)
    }
}

/// `pooler.dense` → tanh → `classifier`.
///
/// # Errors
/// When a tensor is missing or misshapen, or there are several labels.
pub fn bert_head(
    file: &Path,
    json: &Value,
    weights: &Weights,
) -> std::result::Result<ClassificationHead, LoadError> {
    let pooler = root(weights, "bert", PROBE).pp("pooler");
    head((file, json), &pooler.pp("dense"), &weights.pp("classifier"))
}

/// `classifier.dense` → tanh → `classifier.out_proj`.
///
/// # Errors
/// As [`bert_head`].
pub fn roberta_head(
    file: &Path,
    json: &Value,
    weights: &Weights,
) -> std::result::Result<ClassificationHead, LoadError> {
    let own = weights.pp("classifier");
    head((file, json), &own.pp("dense"), &own.pp("out_proj"))
}

fn head(
    (file, json): (&Path, &Value),
    dense: &Weights,
    classifier: &Weights,
) -> std::result::Result<ClassificationHead, LoadError> {
    let hidden = BertConfig::parse(file, json)?.hidden_size;
    check_labels(file, json)?;
    Ok(ClassificationHead {
        pooling: Pooling::Cls,
        dense: dense.linear(hidden, hidden, true)?,
        activation: Activation::Tanh,
        norm: None,
        classifier: classifier.linear(1, hidden, true)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn roberta_counts_from_behind_the_padding_id_and_passes_padding_over() {
        let batch = EncoderBatch {
            token_ids: vec![0, 7, 1, 8, 0, 9],
            token_types: vec![0; 6],
            spans: vec![0..4, 4..6],
        };
        assert_eq!(roberta_positions(&batch, 1), [2, 3, 1, 4, 2, 3]);
        assert_eq!(batch.positions(), [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn roberta_has_fewer_positions_than_rows() {
        let json = json!({"max_position_embeddings": 514, "pad_token_id": 1});
        let config = BertConfig::parse(Path::new("config.json"), &json).unwrap();
        assert_eq!(Roberta::shape(&config).model.context, 512);
        assert_eq!(Bert::shape(&config).model.context, 514);
    }
}
