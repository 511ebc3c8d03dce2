//! A tile of the paged cache as the arithmetic wants it: keys transposed, so that a vector holds one
//! number of many keys, and values row by row. Both as f32, whatever the cache holds. Knows places, not
//! queries.

use super::cache::CacheNumber;
use super::{AttentionShape, AttentionSpan, Job, TILE};
use crate::simd::LoadHalves;
use std::ops::Range;

/// Keys and values of up to [`TILE`] positions of one head, as the arithmetic wants them.
pub(super) trait Source<S: LoadHalves> {
    /// Where some values lie.
    type Values: Copy;

    /// Numbers of a key, and of a value with what fills its last vector.
    fn sizes(&self) -> (usize, usize);
    /// Number `d` of `N * LANES` keys from `key`, a multiple of `LANES`; those of absent keys are arbitrary.
    ///
    /// # Safety
    /// The instruction set is present, `d` and a key of each vector are there.
    unsafe fn numbers<const N: usize>(&self, d: usize, key: usize) -> [S::V; N];
    /// The values from `key` on, of which `d` is the first number to be read, and how many lie as these do.
    fn values(&self, key: usize, d: usize) -> (Self::Values, usize);
    /// The next `N * LANES` numbers of value `i` of these.
    ///
    /// # Safety
    /// The instruction set is present, and so are these numbers or what fills the last vector.
    unsafe fn value<const N: usize>(&self, values: Self::Values, i: usize) -> [S::V; N];
}

impl<S: LoadHalves> Source<S> for Tile<'_> {
    type Values = *const f32;

    #[inline(always)]
    fn sizes(&self) -> (usize, usize) {
        (self.dim, self.width)
    }

    #[inline(always)]
    unsafe fn numbers<const N: usize>(&self, d: usize, key: usize) -> [S::V; N] {
        let from = self.numbers.as_ptr().wrapping_add(d * TILE + key);
        // SAFETY: the tile has room for whole vectors of TILE keys.
        std::array::from_fn(|n| unsafe { S::load(from.add(n * S::LANES), S::LANES) })
    }

    #[inline(always)]
    fn values(&self, key: usize, d: usize) -> (*const f32, usize) {
        let at = TILE * self.dim + key * self.width + d;
        (self.numbers.as_ptr().wrapping_add(at), TILE)
    }

    #[inline(always)]
    unsafe fn value<const N: usize>(&self, values: *const f32, i: usize) -> [S::V; N] {
        let from = values.wrapping_add(i * self.width);
        // SAFETY: as the caller vouches.
        std::array::from_fn(|n| unsafe { S::load(from.add(n * S::LANES), S::LANES) })
    }
}

/// A thread's tile of one key head: copied, since many rows read it.
pub(super) struct Tile<'a> {
    /// The keys, `[dim, TILE]`; behind them the values, `[TILE, width]`.
    numbers: &'a mut [f32],
    dim: usize,
    /// Numbers of a value and what is behind them, so that it is whole vectors.
    width: usize,
    /// Which of the tile's positions are there.
    keys: Range<usize>,
}

impl<'a> Tile<'a> {
    /// Tiles of heads of `dim` numbers, in `TILE * (dim + width)` numbers of memory.
    pub(super) fn new(numbers: &'a mut [f32], dim: usize, width: usize) -> Self {
        Self { numbers, dim, width, keys: 0..0 }
    }

    /// Reads the positions `keys` of the tile that begins at position `start`.
    ///
    /// # Safety
    /// The instruction set is present; the positions are in blocks of the cache.
    #[inline(always)]
    pub(super) unsafe fn read<S: LoadHalves, C: CacheNumber>(
        &mut self,
        job: &Job<'_>,
        (k, v): (&[C], &[C]),
        (span, kv_head): (&AttentionSpan<'_>, usize),
        (start, keys): (usize, Range<usize>),
    ) {
        self.keys = keys.start - start..keys.end - start;
        let (shape, (k, v)) = (&job.shape, (k.as_ptr(), v.as_ptr()));
        let size = shape.block_size;
        let mut places = [0; TILE];
        // SAFETY: `part` is there in both caches, and in the tile.
        unsafe {
            for (block, part) in parts(keys, size) {
                let head = place::<C>(shape, span.block_table[block], kv_head);
                let at = block * size + part.start - start;
                let part = Part { size, at, positions: part };
                if size == 1 {
                    places[at] = head;
                } else {
                    self.copy_keys::<S, C>(k.add(head), &part);
                }
                if job.values_are_keys && size > 1 {
                    self.transpose_values::<S, C>(v.add(head), &part);
                } else {
                    self.widen_values::<S, C>(v.add(head), &part);
                }
            }
            if size == 1 {
                self.transpose_keys::<S, C>(k, &places);
            }
        }
    }

    /// The keys of a block, which lie as they are wanted.
    #[inline(always)]
    unsafe fn copy_keys<S: LoadHalves, C: CacheNumber>(&mut self, keys: *const C, part: &Part) {
        let (dim, shape) = (self.dim, (self.dim, part.size));
        let Range { start, end } = part.positions;
        // SAFETY: numbers of keys that are there, and their places; where blocks are whole vectors, those of
        // the tile are those of the block, and what else is in them is of the block, too, and of no use.
        unsafe {
            if part.size.is_multiple_of(S::LANES) {
                let before = start % S::LANES;
                for first in (start - before..end).step_by(S::LANES) {
                    let to = self.numbers.as_mut_ptr().add(part.at + first - start);
                    for d in 0..dim {
                        let v = C::load_keys::<S>(keys, shape, d, first, S::LANES);
                        S::store(v, to.add(d * TILE), S::LANES);
                    }
                }
                return;
            }
            for first in (start..end).step_by(S::LANES) {
                let to = self.numbers.as_mut_ptr().add(part.at + first - start);
                let count = S::LANES.min(end - first);
                for d in 0..dim {
                    let v = C::load_keys::<S>(keys, shape, d, first, count);
                    S::store(v, to.add(d * TILE), count);
                }
            }
        }
    }

    /// The values of a block, which lie as they are wanted.
    #[inline(always)]
    unsafe fn widen_values<S: LoadHalves, C: CacheNumber>(
        &mut self,
        values: *const C,
        part: &Part,
    ) {
        let dim = self.dim;
        let whole = dim / S::LANES * S::LANES;
        let out = self.numbers.as_mut_ptr().wrapping_add(TILE * dim + part.at * self.width);
        for (i, position) in part.positions.clone().enumerate() {
            // SAFETY: numbers of a value that is there, and the places of vectors in `out`.
            unsafe {
                let from = values.add(position * C::per_head(dim));
                let out = out.add(i * self.width);
                for d in (0..whole).step_by(S::LANES) {
                    S::store(C::load::<S>(from, dim, d, S::LANES), out.add(d), S::LANES);
                }
                if whole < dim {
                    let rest = C::load::<S>(from, dim, whole, dim - whole);
                    S::store(rest, out.add(whole), S::LANES);
                }
            }
        }
    }

    /// The values of a block that lie as keys do.
    #[inline(always)]
    unsafe fn transpose_values<S: LoadHalves, C: CacheNumber>(
        &mut self,
        values: *const C,
        part: &Part,
    ) {
        let (dim, shape) = (self.dim, (self.dim, part.size));
        let out = self.numbers.as_mut_ptr().wrapping_add(TILE * dim + part.at * self.width);
        for first in part.positions.clone().step_by(S::LANES) {
            let count = S::LANES.min(part.positions.end - first);
            for d in (0..dim).step_by(S::LANES) {
                // SAFETY: numbers of values that are there; `out` has whole vectors for each of them.
                unsafe {
                    let mut square = [S::splat(0.0); 16];
                    for (v, d) in square[..S::LANES].iter_mut().zip(d..dim) {
                        *v = C::load_keys::<S>(values, shape, d, first, count);
                    }
                    S::transpose(&mut square);
                    for (i, v) in square[..count].iter().enumerate() {
                        let place = first - part.positions.start + i;
                        S::store(*v, out.add(place * self.width + d), S::LANES);
                    }
                }
            }
        }
    }

    /// The keys of blocks of one position, the heads that begin at `places`.
    #[inline(always)]
    unsafe fn transpose_keys<S: LoadHalves, C: CacheNumber>(
        &mut self,
        from: *const C,
        places: &[usize; TILE],
    ) {
        let first = self.keys.start / S::LANES * S::LANES;
        for group in (first..self.keys.end).step_by(S::LANES) {
            let there = self.keys.start.max(group)..self.keys.end.min(group + S::LANES);
            for d in (0..self.dim).step_by(S::LANES) {
                let count = S::LANES.min(self.dim - d);
                let head = |i: usize| from.wrapping_add(places[group + i]);
                // SAFETY: numbers `d..d + count` of keys that are there; `out` has TILE numbers for each of
                // `dim`.
                unsafe {
                    let mut square = [S::splat(0.0); 16];
                    // No question for every row where all are there.
                    if there.len() == S::LANES && count == S::LANES {
                        for (i, v) in square.iter_mut().enumerate().take(S::LANES) {
                            *v = C::load::<S>(head(i), self.dim, d, S::LANES);
                        }
                    } else {
                        for key in there.clone() {
                            let v = C::load::<S>(head(key - group), self.dim, d, count);
                            square[key - group] = v;
                        }
                    }
                    S::transpose(&mut square);
                    let out = self.numbers.as_mut_ptr().add(d * TILE + group);
                    for (i, v) in square.iter().enumerate().take(count) {
                        S::store(*v, out.add(i * TILE), S::LANES);
                    }
                }
            }
        }
    }
}

/// Numbers of a value of `dim` and what fills the last vector of any instruction set.
#[inline(always)]
pub(super) fn widest(dim: usize) -> usize {
    dim.next_multiple_of(16)
}

/// The blocks of some positions, and which of a block's positions they are.
#[inline(always)]
pub(super) fn parts(
    positions: Range<usize>,
    size: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let Range { start, end } = positions;
    (start / size..end.div_ceil(size)).map(move |block| {
        let first = block * size;
        (block, start.max(first) - first..end.min(first + size) - first)
    })
}

/// Where in the caches a block's keys and values of a head begin.
#[inline(always)]
pub(super) fn place<C: CacheNumber>(shape: &AttentionShape, block: u32, kv_head: usize) -> usize {
    let head = block as usize * shape.kv_heads + kv_head;
    head * shape.block_size * C::per_head(shape.head_dim)
}

/// What a tile has of one block.
struct Part {
    /// Positions of the block.
    size: usize,
    /// Those of them that the tile has.
    positions: Range<usize>,
    /// The first one's place in the tile.
    at: usize,
}
