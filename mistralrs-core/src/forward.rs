//! The contract between engine and model: one step's work for all sequences, packed.
//! Knows token ids, positions, block numbers and what encoders made of media; no text, no sampling,
//! no policy.

mod media;

pub use media::{
    ContentHash, Encoded, LiveBytes, Media, MediaItem, MediaSpan, Modality, RopePositions,
};

use std::ops::Range;

/// One sequence's share of a step. A decode is a span of one row, a prefill chunk a longer one, a
/// cached prefix a span whose `context_len` exceeds its rows: there is no "is prefill".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSpan {
    /// Its rows in the packed batch.
    pub query: Range<usize>,
    /// Tokens visible to its last row, that row included.
    pub context_len: usize,
    /// `[groups of layers]`: the blocks that hold its keys and values, in order of position; where a group
    /// has a window, those before it mean nothing.
    pub block_tables: Vec<Vec<u32>>,
    /// Ranges of positions whose tokens also see those behind them in the range; what a window hides
    /// before them stays hidden;
    /// ascending, within `context_len`. Only for models that ask for it.
    pub together: Vec<Range<usize>>,
}

/// Everything a model needs for one step. Complete when built; no field is filled in later.
#[derive(Debug, Clone, Default)]
pub struct ForwardBatch {
    /// `[tokens]`
    pub token_ids: Vec<u32>,
    /// `[tokens]`: each token's position in its sequence.
    pub positions: Vec<u32>,
    /// `[tokens]`: positions along time, height and width for models that rotate by all three; empty
    /// where each of the three is `positions`.
    pub rope_positions: Vec<[u32; 3]>,
    /// One per sequence; their rows follow one another and cover the batch.
    pub spans: Vec<SequenceSpan>,
    /// `[groups of layers, tokens]`: where each token's key and value go, `block × block_size + offset`.
    pub slot_mapping: Vec<Vec<usize>>,
    /// The rows of sequences longer than the model's short context; empty for models without one.
    pub long_rows: Vec<Range<usize>>,
    /// `[rows]`: the rows whose logits somebody will read, ascending.
    pub logit_rows: Vec<u32>,
    /// Rows that stand for media, ascending.
    pub media: Vec<MediaSpan>,
}

impl ForwardBatch {
    /// Number of packed tokens.
    pub fn len(&self) -> usize {
        self.token_ids.len()
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.token_ids.is_empty()
    }
}

/// Whole texts for one pass of an encoder, packed: no padding, no cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncoderBatch {
    /// `[tokens]`
    pub token_ids: Vec<u32>,
    /// `[tokens]`: which part of a pair of texts each token belongs to, 0 or 1.
    pub token_types: Vec<u32>,
    /// One per text, none empty; their rows follow one another and cover the batch.
    pub spans: Vec<Range<usize>>,
}

/// One text, or a pair of texts, in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncoderInput {
    /// `[tokens]`; not empty.
    pub token_ids: Vec<u32>,
    /// `[tokens]`
    pub token_types: Vec<u32>,
}

impl EncoderBatch {
    /// Adds a text behind those that are there.
    pub fn push(&mut self, text: &EncoderInput) {
        let start = self.token_ids.len();
        self.token_ids.extend_from_slice(&text.token_ids);
        self.token_types.extend_from_slice(&text.token_types);
        self.spans.push(start..self.token_ids.len());
    }

    /// Each token's position in its text: `[tokens]`.
    pub fn positions(&self) -> Vec<u32> {
        self.spans.iter().flat_map(|span| (0u32..).take(span.len())).collect()
    }
}
