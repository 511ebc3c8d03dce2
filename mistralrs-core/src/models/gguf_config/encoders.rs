//! What a GGUF file says of an encoder, as the keys of its Hugging Face config; and how a text's
//! tokens become its vector. Files are silent on the activation, which is GELU, and of cross-encoders
//! on what is pooled: the mean in ModernBERT's, the first token in BERT's.
//! Source: the key list of the GGUF specification and the names llama.cpp's converter writes.

use super::{Keys, bad, families};
use crate::error::LoadError;
use mistralrs_quant::gguf::Metadata;
use serde_json::{Map, Value, json};

/// Every so many layers, from the first, one of ModernBERT's sees all.
const MODERN_BERT_PERIOD: u64 = 3;

/// `pooling_type`: what becomes of the tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufPooling {
    /// Their mean.
    Mean,
    /// The first speaks for all.
    Cls,
    /// The last does.
    LastToken,
    /// A score instead of a vector.
    Rank,
}

/// How the file's model pools; `None` if it does not say: then it is for text, or the mean is meant.
///
/// # Errors
/// [`LoadError::BadFile`] for a kind that is not known.
pub fn pooling(metadata: &Metadata) -> Result<Option<GgufPooling>, LoadError> {
    let Some(architecture) = metadata.get_str("general.architecture") else {
        return Ok(None);
    };
    let key = format!("{architecture}.pooling_type");
    if metadata.get(&key).is_none() {
        return Ok(None);
    }
    match metadata.get_u64(&key) {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(GgufPooling::Mean)),
        Some(2) => Ok(Some(GgufPooling::Cls)),
        Some(3) => Ok(Some(GgufPooling::LastToken)),
        Some(4) => Ok(Some(GgufPooling::Rank)),
        _ => Err(bad(format!("`{key}` is none of 0 to 4"))),
    }
}

/// Names the cross-encoder where the file is one.
pub(super) fn add(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    if pooling(keys.metadata)? != Some(GgufPooling::Rank) {
        return Ok(());
    }
    let name = match keys.prefix {
        "bert" => "BertForSequenceClassification",
        "modern-bert" => "ModernBertForSequenceClassification",
        other => return Err(bad(format!("a cross-encoder of the architecture {other}"))),
    };
    config.insert("architectures".into(), json!([name]));
    Ok(())
}

/// BERT and its relatives. RoBERTa's table of positions lies in the file without the rows before the
/// first position, which makes it BERT's.
pub(super) fn bert(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), LoadError> {
    config.insert("layer_norm_eps".into(), json!(keys.epsilon()?));
    Ok(())
}

/// Two rotations, and a window in all layers but every third.
pub(super) fn modern_bert(
    keys: &Keys<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), LoadError> {
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    set("norm_eps", json!(keys.epsilon()?));
    set("classifier_pooling", json!("mean"));
    // The two below are said per kind of layer; the common ones are of one kind.
    set("rope_parameters", Value::Null);
    for (ours, theirs) in
        [("global_rope_theta", "rope.freq_base"), ("local_rope_theta", "rope.freq_base_swa")]
    {
        if let Some(theta) = keys.float(theirs) {
            set(ours, json!(theta));
        }
    }
    if let Some(window) = keys.number("attention.sliding_window")? {
        set("local_attention", json!(window));
    }
    let key = keys.key("attention.sliding_window_pattern");
    if let Some(period) = keys.metadata.get_u64(&key) {
        // Here the first of each period sees all, not the last.
        set("layer_types", Value::Null);
        set("global_attn_every_n_layers", json!(period));
    } else if keys.metadata.get(&key).is_none() {
        set("global_attn_every_n_layers", json!(MODERN_BERT_PERIOD));
    }
    Ok(())
}

/// EmbeddingGemma: Gemma 3 in which tokens see both ways.
pub(super) fn embedding_gemma(
    keys: &Keys<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), LoadError> {
    config.insert("use_bidirectional_attention".into(), json!(true));
    families::gemma3(keys, config)
}
