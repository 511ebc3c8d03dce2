//! Models that turn whole texts into hidden states, without a cache; and their registry, one line
//! per architecture. A model file knows weights and packed texts, nothing of pooling or files.

mod bert;
mod decoder;
mod embedding_gemma;
mod modernbert;
mod qwen3_embedding;

use super::ModelShape;
use super::config::{self, LARGEST_DIMENSION, MOST_LAYERS, within};
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::kv_cache::KvSpec;
use crate::layers::encoder::ClassificationHead;
use crate::weights::Weights;
use candle_core::Tensor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// A loaded encoder. What it keeps between calls is memory to work in, never a text.
pub trait Encoder: Send {
    /// Hidden states of all tokens: `[tokens, hidden]`.
    ///
    /// # Errors
    /// When a token id is outside the vocabulary, shapes disagree or the device fails.
    fn encode(&mut self, batch: &EncoderBatch) -> candle_core::Result<Tensor>;
}

/// What can be known of an encoder before it is loaded, and how to load it.
pub trait EncoderArchitecture: Encoder + Sized + 'static {
    /// `config.json`, as far as this family reads it.
    type Config;

    /// Keys of `config.json` beyond the common ones that change the arithmetic and that this
    /// family reads; see [`config::check_keys`].
    const READS: &'static [&'static str] = &[];

    /// Reads `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    fn config(file: &Path, json: &Value) -> Result<Self::Config, LoadError>;

    /// Sizes that are needed before the weights are read.
    fn shape(config: &Self::Config) -> EncoderShape;

    /// Reads its weights.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    fn load(config: &Self::Config, weights: &Weights) -> Result<Self, LoadError>;
}

/// Sizes of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderShape {
    /// As of any model; nothing is kept per token.
    pub model: ModelShape,
    /// Width of a hidden state.
    pub hidden: usize,
}

impl EncoderShape {
    /// An encoder of such a vocabulary and context; `activations` per token as in
    /// [`ModelShape::activations_per_token`].
    pub fn new(hidden: usize, vocab_size: usize, context: usize, activations: usize) -> Self {
        let model = ModelShape {
            kv: KvSpec { layers: Vec::new() },
            vocab_size,
            context,
            short_context: None,
            indivisible_tokens: 1,
            activations_per_token: activations,
            tower: None,
        };
        Self { model, hidden }
    }
}

type LoadEncoder = fn(&Path, &Value, &Weights) -> Result<Box<dyn Encoder>, LoadError>;
type LoadHead = fn(&Path, &Value, &Weights) -> Result<ClassificationHead, LoadError>;

/// One row of the registry: an [`EncoderArchitecture`] behind function pointers.
#[derive(Debug, Clone, Copy)]
pub struct EncoderRow {
    /// The name in `architectures` of `config.json`.
    pub name: &'static str,
    /// `model_type` of `config.json`, for files that name no architecture.
    pub model_type: &'static str,
    /// [`EncoderArchitecture::shape`] of a `config.json`.
    pub shape: fn(&Path, &Value) -> Result<EncoderShape, LoadError>,
    /// [`EncoderArchitecture::load`] of a `config.json`.
    pub load: LoadEncoder,
    /// The head of a cross-encoder, where this is one.
    pub head: Option<LoadHead>,
}

impl EncoderRow {
    /// Whether no text model has this name, too.
    pub fn only_encodes(&self) -> bool {
        super::find(self.name).is_err()
    }
}

const fn row<A: EncoderArchitecture>(
    name: &'static str,
    model_type: &'static str,
    head: Option<LoadHead>,
) -> EncoderRow {
    EncoderRow {
        name,
        model_type,
        shape: |file, json| {
            config::check_keys(file, json, A::READS)?;
            Ok(A::shape(&A::config(file, json)?))
        },
        load: |file, json, weights| Ok(Box::new(A::load(&A::config(file, json)?, weights)?)),
        head,
    }
}

/// All encoders.
pub const ENCODERS: &[EncoderRow] = &[
    row::<bert::Bert>("BertModel", "bert", None),
    row::<bert::Bert>("BertForMaskedLM", "bert", None),
    row::<bert::Bert>("BertForSequenceClassification", "bert", Some(bert::bert_head)),
    row::<bert::Roberta>("RobertaModel", "roberta", None),
    row::<bert::Roberta>("RobertaForMaskedLM", "roberta", None),
    row::<bert::Roberta>("RobertaForSequenceClassification", "roberta", Some(bert::roberta_head)),
    row::<bert::Roberta>("XLMRobertaModel", "xlm-roberta", None),
    row::<bert::Roberta>("XLMRobertaForMaskedLM", "xlm-roberta", None),
    row::<bert::Roberta>(
        "XLMRobertaForSequenceClassification",
        "xlm-roberta",
        Some(bert::roberta_head),
    ),
    row::<modernbert::ModernBert>("ModernBertModel", "modernbert", None),
    row::<modernbert::ModernBert>("ModernBertForMaskedLM", "modernbert", None),
    row::<modernbert::ModernBert>(
        "ModernBertForSequenceClassification",
        "modernbert",
        Some(modernbert::head),
    ),
    row::<embedding_gemma::EmbeddingGemma>("Gemma3TextModel", "gemma3_text", None),
    row::<qwen3_embedding::Qwen3Embedding>("Qwen3ForCausalLM", "qwen3", None),
];

/// The row of an architecture.
pub fn find(name: &str) -> Option<&'static EncoderRow> {
    ENCODERS.iter().find(|row| row.name == name)
}

/// The names of the 0.6 line's command line.
const OPTION_NAMES: [(&str, &str); 2] =
    [("embeddinggemma", "Gemma3TextModel"), ("qwen3embedding", "Qwen3ForCausalLM")];

/// The architecture that a command line names, by the older line's names or its own (row D6).
pub fn by_option(name: &str) -> Option<&'static str> {
    let old = OPTION_NAMES.iter().find(|(old, _)| old.eq_ignore_ascii_case(name));
    find(old.map_or(name, |(_, class)| class)).map(|row| row.name)
}

/// What [`by_option`] knows.
pub fn option_names() -> Vec<&'static str> {
    let old = OPTION_NAMES.iter().filter(|(_, class)| find(class).is_some()).map(|(old, _)| *old);
    old.chain(ENCODERS.iter().map(|row| row.name)).collect()
}

/// Says which encoders there are.
pub fn unknown(found: &str) -> LoadError {
    let names: Vec<_> = ENCODERS.iter().map(|row| row.name).collect();
    LoadError::UnknownArchitecture {
        found: format!("{found} (as an encoder)"),
        supported: names.join(", "),
    }
}

/// The row for files that name no architecture: the plain model of this `model_type`.
pub fn find_by_model_type(model_type: &str) -> Option<&'static EncoderRow> {
    ENCODERS.iter().find(|row| row.model_type == model_type)
}

/// Tensors that checkpoints carry and an encoder without that head does not need.
pub fn is_ignorable(name: &str) -> bool {
    const HEADS: [&str; 6] = ["cls.", "lm_head.", "decoder.", "head.", "pooler.", "classifier."];
    let inner = ["bert.", "roberta.", "model."].iter().find_map(|prefix| name.strip_prefix(prefix));
    HEADS.iter().any(|head| inner.unwrap_or(name).starts_with(head))
        || name.ends_with("embeddings.position_ids")
        || name.ends_with("embeddings.token_type_ids")
        || super::is_ignorable(name)
}

/// The part of a checkpoint that the encoder itself is in: `prefix`, or the root where `probe` is
/// there already.
fn root(weights: &Weights, prefix: &str, probe: &str) -> Weights {
    if weights.contains(probe) { weights.clone() } else { weights.pp(prefix) }
}

/// The keys of `config.json` that `C` has, checked.
fn parse<C: DeserializeOwned>(
    file: &Path,
    json: &Value,
    check: fn(&C) -> Result<(), String>,
) -> Result<C, LoadError> {
    let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
    let config: C =
        serde_path_to_error::deserialize(json).map_err(|error| bad(error.to_string()))?;
    check(&config).map_err(bad)?;
    Ok(config)
}

/// Checks a number of `config.json`: a model has at least one of everything, and nothing in the
/// millions of millions.
fn dimension(key: &str, value: usize) -> Result<usize, String> {
    within(key, value, LARGEST_DIMENSION)
}

/// Checks the widths that every encoder has: of the stream, of which the heads take equal parts.
fn check_sizes(layers: usize, hidden: usize, heads: usize) -> Result<(), String> {
    within("num_hidden_layers", layers, MOST_LAYERS)?;
    let hidden = dimension("hidden_size", hidden)?;
    match hidden.is_multiple_of(dimension("num_attention_heads", heads)?) {
        true => Ok(()),
        false => Err(format!("`hidden_size` {hidden} is no multiple of {heads} heads")),
    }
}

/// How many numbers a cross-encoder gives per text; only one can be ranked by.
fn check_labels(file: &Path, json: &Value) -> Result<(), LoadError> {
    let by_name = || json.get("id2label")?.as_object().map(serde_json::Map::len);
    let number = || usize::try_from(json.get("num_labels")?.as_u64()?).ok();
    match by_name().or_else(number).unwrap_or(2) {
        1 => Ok(()),
        labels => Err(LoadError::BadFile {
            file: file.to_owned(),
            reason: format!(
                "a classifier of {labels} labels (`id2label`); only cross-encoders, with one label, are supported"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_found_by_either_name() {
        assert_eq!(find("XLMRobertaModel").map(|row| row.model_type), Some("xlm-roberta"));
        assert!(find("LlamaForCausalLM").is_none());
        for row in ENCODERS {
            let plain = find_by_model_type(row.model_type).unwrap();
            assert!(plain.head.is_none(), "{}", row.model_type);
        }
    }

    #[test]
    fn both_lines_names_lead_to_the_class() {
        assert_eq!(by_option("qwen3embedding"), Some("Qwen3ForCausalLM"));
        assert_eq!(by_option("Qwen3Embedding"), Some("Qwen3ForCausalLM"));
        for name in option_names() {
            let class = by_option(name).unwrap();
            assert_eq!(by_option(class), Some(class));
        }
        assert_eq!(by_option("word2vec"), None);
    }

    #[test]
    fn only_one_label_can_be_ranked_by() {
        let labels = |json| check_labels(Path::new("config.json"), &json);
        assert!(labels(json!({"id2label": {"0": "LABEL_0"}})).is_ok());
        assert!(labels(json!({"num_labels": 1})).is_ok());
        for wrong in
            [json!({}), json!({"num_labels": 3}), json!({"id2label": {"0": "a", "1": "b"}})]
        {
            assert!(labels(wrong.clone()).unwrap_err().to_string().contains("labels"), "{wrong}");
        }
    }

    #[test]
    fn keys_that_change_the_arithmetic_are_read_or_refused() {
        let file = Path::new("config.json");
        let shape = |name: &str, json: &Value| (find(name).unwrap().shape)(file, json);
        for name in ["BertModel", "XLMRobertaModel", "ModernBertModel"] {
            assert!(shape(name, &json!({})).is_ok(), "{name}");
            let keys = ["attn_logit_softcapping", "partial_rotary_factor", "add_cross_attention"];
            for (key, value) in keys.iter().zip([json!(30.0), json!(0.5), json!(true)]) {
                let error = shape(name, &json!({*key: value})).unwrap_err().to_string();
                assert!(error.contains(key), "{name}: {error}");
            }
        }
        let gemma = |both: bool| {
            json!({
                "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 6,
                "use_bidirectional_attention": both,
            })
        };
        assert!(shape("Gemma3TextModel", &gemma(true)).is_ok());
        assert!(
            (super::super::find("Gemma3ForCausalLM").unwrap().shape)(file, &gemma(true)).is_err()
        );
    }

    #[test]
    fn heads_and_tables_are_ignorable_and_layers_are_not() {
        for name in [
            "pooler.dense.weight",
            "bert.pooler.dense.bias",
            "cls.predictions.bias",
            "embeddings.position_ids",
            "roberta.embeddings.position_ids",
            "head.norm.weight",
        ] {
            assert!(is_ignorable(name), "{name}");
        }
        for name in ["encoder.layer.0.output.dense.weight", "bert.embeddings.LayerNorm.weight"] {
            assert!(!is_ignorable(name), "{name}");
        }
    }
}
