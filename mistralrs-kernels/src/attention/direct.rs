//! Keys and values where they lie in the cache: what few rows read is not worth copying, and a tile of
//! numbers beside what streams by is more than the nearest cache holds.

use super::cache::CacheNumber;
use super::tile::{Source, parts, place};
use super::{AttentionShape, AttentionSpan, Job, TILE};
use crate::simd::{LoadHalves, prefetch};
use std::ops::Range;

/// Vectors of keys in a tile, at most.
const VECTORS: usize = TILE / 8;

/// Lines of memory that are fetched before they are wanted.
const LINES: usize = 8;

/// Some positions of one key head.
pub(super) struct Direct<C> {
    keys: Range<usize>,
    head_dim: usize,
    block_size: usize,
    /// For each vector of keys, where its block's keys begin and which of them are in it.
    vectors: [(*const C, usize); VECTORS],
    /// Where each value begins.
    values: [*const C; TILE],
}

impl<C: CacheNumber> Direct<C> {
    /// Whether keys and values of such a shape can be read in whole vectors of `lanes`.
    pub(super) fn fits(shape: &AttentionShape, lanes: usize) -> bool {
        shape.block_size.is_multiple_of(lanes) && shape.head_dim.is_multiple_of(lanes)
    }

    /// Has the first lines of what the positions `keys` will be read from fetched. The processor guesses those
    /// that follow, but a block's keys and values are a page of their own, where it begins anew.
    #[inline(always)]
    pub(super) fn fetch(
        job: &Job<'_>,
        (k, v): (&[C], &[C]),
        (span, kv_head): (&AttentionSpan<'_>, usize),
        keys: Range<usize>,
    ) {
        for (block, _) in parts(keys, job.shape.block_size) {
            let head = place::<C>(&job.shape, span.block_table[block], kv_head);
            for cache in [k, v] {
                let first: *const u8 = cache.as_ptr().wrapping_add(head).cast();
                (0..LINES).for_each(|line| prefetch(first.wrapping_add(line * 64)));
            }
        }
    }

    /// The positions `keys` of the tile that begins at position `start`.
    ///
    /// # Safety
    /// The positions are in blocks of the cache, [`Self::fits`] has said yes, and values are not keys.
    #[inline(always)]
    pub(super) unsafe fn new<S: LoadHalves>(
        job: &Job<'_>,
        (k, v): (&[C], &[C]),
        (span, kv_head): (&AttentionSpan<'_>, usize),
        (start, keys): (usize, Range<usize>),
    ) -> Self {
        let AttentionShape { head_dim, block_size, .. } = job.shape;
        let mut this = Self {
            keys: keys.start - start..keys.end - start,
            head_dim,
            block_size,
            vectors: [(k.as_ptr(), 0); VECTORS],
            values: [v.as_ptr(); TILE],
        };
        for (block, part) in parts(keys, block_size) {
            let head = place::<C>(&job.shape, span.block_table[block], kv_head);
            let first = block * block_size;
            for key in (part.start / S::LANES * S::LANES..part.end).step_by(S::LANES) {
                let vector = (first + key - start) / S::LANES;
                this.vectors[vector] = (k.as_ptr().wrapping_add(head), key);
            }
            for key in part {
                let value = head + key * C::per_head(head_dim);
                this.values[first + key - start] = v.as_ptr().wrapping_add(value);
            }
        }
        this
    }
}

impl<S: LoadHalves, C: CacheNumber> Source<S> for Direct<C> {
    #[inline(always)]
    fn keys(&self) -> Range<usize> {
        self.keys.clone()
    }

    #[inline(always)]
    fn sizes(&self) -> (usize, usize) {
        (self.head_dim, self.head_dim.next_multiple_of(16))
    }

    #[inline(always)]
    unsafe fn number(&self, d: usize, key: usize) -> S::V {
        // SAFETY: whole vectors of the block's keys.
        unsafe {
            let (keys, at) = *self.vectors.get_unchecked(key / S::LANES);
            C::load_keys::<S>(keys, (self.head_dim, self.block_size), d, at, S::LANES)
        }
    }

    #[inline(always)]
    unsafe fn value(&self, key: usize, d: usize) -> S::V {
        // SAFETY: whole vectors of a value that is there.
        unsafe { C::load::<S>(*self.values.get_unchecked(key), self.head_dim, d, S::LANES) }
    }
}
