//! Keys and values where they lie in the cache: what few rows read is not worth copying, and a tile of
//! numbers beside what streams by is more than the nearest cache holds.

use super::cache::CacheNumber;
use super::tile::{Source, parts, place, widest};
use super::{AttentionShape, AttentionSpan, Job, TILE};
use crate::simd::{LINE, LoadHalves, prefetch_early};
use std::ops::Range;

/// Vectors of keys in a tile, at most.
const VECTORS: usize = TILE / 8;

/// Some positions of one key head.
pub(super) struct Direct<C> {
    head_dim: usize,
    block_size: usize,
    /// Where the positions of each vector lie.
    here: [Place<C>; VECTORS],
    /// Those of the tile that follows, to be fetched beside the arithmetic, a line with each that is read: all at
    /// once, the processor would wait for them. Without one, the same again.
    next: [Place<C>; VECTORS],
}

/// Where a vector of positions lies.
#[derive(Clone, Copy)]
struct Place<C> {
    /// The first number of its block and head, among keys and among values.
    keys: *const C,
    values: *const C,
    /// The vector's first position within the block.
    at: usize,
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
        let here = find::<S, C>(job, cache, head, (start, keys));
        let next = match next.is_empty() {
            true => here,
            false => find::<S, C>(job, cache, head, (start + TILE, next)),
        };
        Self { head_dim, block_size, here, next }
    }
}

/// Where each vector of the positions `keys` of the tile that begins at position `start` lies; of vectors that are
/// not there any place.
#[inline(always)]
fn find<S: LoadHalves, C: CacheNumber>(
    job: &Job<'_>,
    (k, v): (&[C], &[C]),
    (span, kv_head): (&AttentionSpan<'_>, usize),
    (start, keys): (usize, Range<usize>),
) -> [Place<C>; VECTORS] {
    let mut places = [Place { keys: k.as_ptr(), values: v.as_ptr(), at: 0 }; VECTORS];
    for (block, part) in parts(keys, job.shape.block_size) {
        let head = place::<C>(&job.shape, span.block_table[block], kv_head);
        let (keys, values) = (k.as_ptr().wrapping_add(head), v.as_ptr().wrapping_add(head));
        let first = block * job.shape.block_size;
        for at in (part.start / S::LANES * S::LANES..part.end).step_by(S::LANES) {
            places[(first + at - start) / S::LANES] = Place { keys, values, at };
        }
    }
    places
}

/// Fetches the lines that begin in `N` vectors of `lanes` from `from` on, which begins one itself.
#[inline(always)]
fn fetch<C, const N: usize>(from: *const C, lanes: usize) {
    for n in 0..N {
        if (n * lanes * size_of::<C>()).is_multiple_of(LINE) {
            prefetch_early(from.wrapping_add(n * lanes).cast());
        }
    }
}

impl<S: LoadHalves, C: CacheNumber> Source<S> for Direct<C> {
    type Values = Values<C>;

    #[inline(always)]
    fn sizes(&self) -> (usize, usize) {
        (self.head_dim, widest(self.head_dim))
    }

    #[inline(always)]
    unsafe fn numbers<const N: usize>(&self, d: usize, key: usize) -> [S::V; N] {
        let (first, shape) = (key / S::LANES, (self.head_dim, self.block_size));
        // SAFETY: whole vectors of the blocks' keys.
        unsafe {
            let mut vectors = [S::splat(0.0); N];
            for (n, vector) in vectors.iter_mut().enumerate() {
                let Place { keys, at, .. } = *self.next.get_unchecked(first + n);
                // Where a line begins, which several vectors or numbers may share.
                let next = d * self.block_size + at;
                if (next * size_of::<C>()).is_multiple_of(LINE) {
                    prefetch_early(keys.wrapping_add(next).cast());
                }
                let Place { keys, at, .. } = *self.here.get_unchecked(first + n);
                *vector = C::load_keys::<S>(keys, shape, d, at, S::LANES);
            }
            vectors
        }
    }

    #[inline(always)]
    fn values(&self, key: usize, d: usize) -> (Values<C>, usize) {
        let (vector, lane) = (key / S::LANES, key % S::LANES);
        let (here, next) = (&self.here[vector], &self.next[vector]);
        let first = here.values.wrapping_add((here.at + lane) * C::per_head(self.head_dim));
        let next = (next.values.wrapping_add(d * self.block_size), next.at + lane);
        (Values { first, d, next }, S::LANES - lane)
    }

    #[inline(always)]
    unsafe fn value<const N: usize>(&self, values: Values<C>, i: usize) -> [S::V; N] {
        let (next, at) = values.next;
        fetch::<C, N>(next.wrapping_add((at + i) * N * S::LANES), S::LANES);
        let value = values.first.wrapping_add(i * C::per_head(self.head_dim));
        // SAFETY: whole vectors of a value that is there.
        unsafe {
            let mut vectors = [S::splat(0.0); N];
            for (n, vector) in vectors.iter_mut().enumerate() {
                *vector = C::load::<S>(value, self.head_dim, values.d + n * S::LANES, S::LANES);
            }
            vectors
        }
    }
}

/// Some values that lie one after the other, from number `d` of each on.
#[derive(Clone, Copy)]
pub(super) struct Values<C> {
    first: *const C,
    d: usize,
    /// What is to be fetched: all passes over a block's values fetch all of the next one, line after line, for memory
    /// gives those sooner than every second one. Where the lines of this pass begin, and the first one's number.
    next: (*const C, usize),
}
