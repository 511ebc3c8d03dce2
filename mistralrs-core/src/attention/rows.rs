//! Attention both ways over rows that lie side by side, outside of any cache: to the kernel they are a cache
//! of blocks of one position. Its callers check what they hand in.

use super::AttentionParams;
use crate::slices::f32_slice;
use candle_core::{CpuStorage, Layout, Result};
use mistralrs_kernels::{AttentionSpan, CacheSlice, bidirectional_attention};
use std::ops::Range;

/// Queries `[queries, heads × head_dim]`, keys and values `[keys, kv_heads × head_dim]`.
pub(super) struct Rows<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl<'a> Rows<'a> {
    /// The operands of `op`.
    ///
    /// # Errors
    /// When they are not dense 32-bit floats.
    pub(super) fn new(
        q: (&'a CpuStorage, &Layout),
        k: (&'a CpuStorage, &Layout),
        v: (&'a CpuStorage, &Layout),
        op: &str,
    ) -> Result<Self> {
        let slice = |(storage, layout): (&'a CpuStorage, &Layout)| f32_slice(storage, layout, op);
        Ok(Self { q: slice(q)?, k: slice(k)?, v: slice(v)? })
    }

    /// Every query of a span's first rows sees the keys of its second. All rows lie in the operands.
    pub(super) fn attend(
        &self,
        spans: &[(Range<usize>, Range<usize>)],
        params: &AttentionParams,
    ) -> Vec<f32> {
        let keys = spans.iter().map(|(_, keys)| keys.end).max().unwrap_or(0);
        let blocks: Vec<u32> = (0u32..).take(keys).collect();
        let span = |(queries, keys): &(Range<usize>, Range<usize>)| AttentionSpan {
            query_start: queries.start,
            query_len: queries.len(),
            context_len: keys.len(),
            block_table: blocks.get(keys.clone()).unwrap_or_default(),
            together: &[],
        };
        let spans: Vec<_> = spans.iter().map(span).collect();
        let (k, v) = (CacheSlice::F32(self.k), CacheSlice::F32(self.v));
        bidirectional_attention(&params.shape(1), self.q, k, Some(v), &spans)
    }
}
