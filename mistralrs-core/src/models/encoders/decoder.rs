//! Decoders that encode: their layers over whole texts, hidden states instead of logits. Their
//! checkpoints have no head, and no `model.` before their names.

use super::EncoderShape;
use crate::forward::{EncoderBatch, ForwardBatch, SequenceSpan};
use crate::kv_cache::{KvCache, LayerKvSpec};
use crate::layers::{CausalLm, DecoderLayer};
use crate::models::config::TextConfig;
use crate::models::decoder;
use crate::weights::Weights;
use candle_core::{Result, Tensor};

const PREFIX: &str = "model.";

/// A decoder and the memory of one pass.
pub struct DecoderEncoder<L> {
    lm: CausalLm<L>,
    layer: LayerKvSpec,
    kv: KvCache,
    /// Tokens `kv` holds.
    room: usize,
}

impl<L: DecoderLayer> DecoderEncoder<L> {
    /// Wraps a decoder of this configuration.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(config: &TextConfig, lm: CausalLm<L>) -> Result<Self> {
        let (num_kv_heads, head_dim) = (config.num_key_value_heads, config.head_dim);
        let layer = LayerKvSpec { num_kv_heads, head_dim, values_are_keys: false, window: None };
        let kv = KvCache::for_one_pass(layer, lm.layers.len(), 0)?;
        Ok(Self { lm, layer, kv, room: 0 })
    }

    /// Hidden states of all tokens: `[tokens, hidden]`.
    ///
    /// # Errors
    /// As [`CausalLm::hidden`].
    pub fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        let tokens = batch.token_ids.len();
        if tokens > self.room {
            let layers = self.lm.layers.len();
            self.kv = KvCache::for_one_pass(self.layer, layers, tokens)?;
            self.room = tokens;
        }
        self.lm.hidden(&whole_texts(batch), &mut self.kv)
    }
}

/// Every text from its beginning, each token in the slot of its row.
fn whole_texts(batch: &EncoderBatch) -> ForwardBatch {
    let tokens = batch.token_ids.len();
    let rows: Vec<u32> = (0u32..).take(tokens).collect();
    let span = |span: &std::ops::Range<usize>| SequenceSpan {
        query: span.clone(),
        context_len: span.len(),
        block_tables: vec![rows.get(span.clone()).unwrap_or_default().to_vec()],
        together: Vec::new(),
    };
    ForwardBatch {
        token_ids: batch.token_ids.clone(),
        positions: batch.positions(),
        spans: batch.spans.iter().map(span).collect(),
        slot_mapping: vec![(0..tokens).collect()],
        ..ForwardBatch::default()
    }
}

/// The configuration without a head.
pub fn without_head(config: &TextConfig) -> TextConfig {
    TextConfig { headless: true, ..config.clone() }
}

/// The weights under the names of a text model, whichever the file has.
pub fn under_text_names(weights: &Weights) -> Weights {
    let has_prefix = weights.contains("model.embed_tokens.weight");
    if has_prefix { weights.clone() } else { weights.with_renamed(PREFIX, "") }
}

/// Nothing is kept per token; keys and values of one pass are working memory.
pub fn shape(config: &TextConfig) -> EncoderShape {
    let model = decoder::shape(config);
    let kv = 2 * config.num_key_value_heads * config.head_dim;
    let activations = model.activations_per_token + kv;
    EncoderShape::new(config.hidden_size, model.vocab_size, model.context, activations)
}
