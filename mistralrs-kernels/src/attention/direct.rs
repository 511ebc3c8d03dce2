//! Keys and values where they lie in the cache: what few rows read is not worth copying, and a tile of
//! numbers beside what streams by is more than the nearest cache holds.

use super::cache::CacheNumber;
use super::tile::{Source, parts, place};
use super::{AttentionShape, AttentionSpan, Job, TILE};
use crate::simd::{LoadHalves, prefetch};
use std::ops::Range;

/// Vectors of keys in a tile, at most.
const VECTORS: usize = TILE / 8;

/// Some positions of one key head.
pub(super) struct Direct<C> {
    keys: Range<usize>,
    head_dim: usize,
    block_size: usize,
    /// For each vector of keys, where its block's keys begin and which of them are in it.
    vectors: [(*const C, usize); VECTORS],
    /// Where each value begins.
    values: [*const C; TILE],
    /// The vectors and values of the tile that follows, to be fetched beside the arithmetic, a little with each
    /// that is read: all at once, the processor would wait for them. Without one, the same again.
    next_vectors: [*const C; VECTORS],
    next_values: [*const C; TILE],
}

impl<C: CacheNumber> Direct<C> {
    /// Whether keys and values of such a shape can be read in whole vectors of `lanes`.
    pub(super) fn fits(shape: &AttentionShape, lanes: usize) -> bool {
        shape.block_size.is_multiple_of(lanes) && shape.head_dim.is_multiple_of(lanes)
    }

    /// The positions `keys` of the tile that begins at position `start`; `next` are those of the tile behind it.
    ///
    /// # Safety
    /// The positions are in blocks of the cache, [`Self::fits`] has said yes, and values are not keys.
    #[inline(always)]
    pub(super) unsafe fn new<S: LoadHalves>(
        job: &Job<'_>,
        cache: (&[C], &[C]),
        head: (&AttentionSpan<'_>, usize),
        (start, keys, next): (usize, Range<usize>, Range<usize>),
    ) -> Self {
        let AttentionShape { head_dim, block_size, .. } = job.shape;
        let here = keys.start - start..keys.end - start;
        let (vectors, values) = find::<S, C>(job, cache, head, (start, keys));
        let (next_vectors, next_values) = match next.is_empty() {
            true => (vectors, values),
            false => find::<S, C>(job, cache, head, (start + TILE, next)),
        };
        let next_vectors = next_vectors.map(|(keys, at)| keys.wrapping_add(at));
        Self { keys: here, head_dim, block_size, vectors, values, next_vectors, next_values }
    }
}

/// Where each vector of keys and each value of a tile begins: see [`Direct`].
type Places<C> = ([(*const C, usize); VECTORS], [*const C; TILE]);

/// Those of the positions `keys` of the tile that begins at position `start`.
#[inline(always)]
fn find<S: LoadHalves, C: CacheNumber>(
    job: &Job<'_>,
    (k, v): (&[C], &[C]),
    (span, kv_head): (&AttentionSpan<'_>, usize),
    (start, keys): (usize, Range<usize>),
) -> Places<C> {
    let AttentionShape { head_dim, block_size, .. } = job.shape;
    let mut vectors = [(k.as_ptr(), 0); VECTORS];
    let mut values = [v.as_ptr(); TILE];
    for (block, part) in parts(keys, block_size) {
        let head = place::<C>(&job.shape, span.block_table[block], kv_head);
        let first = block * block_size;
        for key in (part.start / S::LANES * S::LANES..part.end).step_by(S::LANES) {
            vectors[(first + key - start) / S::LANES] = (k.as_ptr().wrapping_add(head), key);
        }
        for key in part {
            let value = head + key * C::per_head(head_dim);
            values[first + key - start] = v.as_ptr().wrapping_add(value);
        }
    }
    (vectors, values)
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
            let next = *self.next_vectors.get_unchecked(key / S::LANES);
            prefetch(next.wrapping_add(d * self.block_size).cast());
            let (keys, at) = *self.vectors.get_unchecked(key / S::LANES);
            C::load_keys::<S>(keys, (self.head_dim, self.block_size), d, at, S::LANES)
        }
    }

    #[inline(always)]
    unsafe fn value(&self, key: usize, d: usize) -> S::V {
        // SAFETY: whole vectors of a value that is there.
        unsafe {
            prefetch(self.next_values.get_unchecked(key).wrapping_add(d).cast());
            C::load::<S>(*self.values.get_unchecked(key), self.head_dim, d, S::LANES)
        }
    }
}
