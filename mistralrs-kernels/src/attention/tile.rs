//! A tile of the paged cache as the arithmetic wants it: keys transposed, so that a vector holds one
//! number of many keys, and values row by row. Both as f32, whatever the cache holds. Knows places, not
//! queries.

use super::{AttentionSpan, Job, TILE};
use crate::simd::LoadHalves;
use half::f16;
use std::ops::Range;

/// A number as the cache holds it.
pub(crate) trait CacheNumber: Copy {
    /// The first `count <= LANES` numbers at `from`, widened exactly, zeros after.
    ///
    /// # Safety
    /// As for [`crate::simd::Simd::load`].
    unsafe fn load<S: LoadHalves>(from: *const Self, count: usize) -> S::V;
}

impl CacheNumber for f32 {
    #[inline(always)]
    unsafe fn load<S: LoadHalves>(from: *const f32, count: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::load(from, count) }
    }
}

impl CacheNumber for f16 {
    #[inline(always)]
    unsafe fn load<S: LoadHalves>(from: *const f16, count: usize) -> S::V {
        // SAFETY: as the caller vouches; halves lie in memory as little-endian bytes here.
        unsafe { S::load_halves::<false>(from.cast(), count) }
    }
}

/// A thread's tile of one key head.
pub(super) struct Tile<'a> {
    /// The keys, `[dim, TILE]`; behind them the values, `[TILE, width]`.
    numbers: &'a mut [f32],
    pub(super) dim: usize,
    /// Numbers of a value and zeros behind them, so that it is whole vectors.
    pub(super) width: usize,
    /// Which of the tile's positions are there.
    pub(super) keys: Range<usize>,
}

impl<'a> Tile<'a> {
    /// Tiles of heads of `dim` numbers, in `TILE * (dim + width)` numbers of memory.
    pub(super) fn new(numbers: &'a mut [f32], dim: usize, width: usize) -> Self {
        Self { numbers, dim, width, keys: 0..0 }
    }

    /// Number `d` of all keys: [`TILE`] numbers, those of absent keys arbitrary.
    #[inline(always)]
    pub(super) fn keys_at(&self, d: usize) -> *const f32 {
        self.numbers.as_ptr().wrapping_add(d * TILE)
    }

    /// The numbers of one value, then zeros.
    #[inline(always)]
    pub(super) fn value(&self, key: usize) -> *const f32 {
        self.numbers.as_ptr().wrapping_add(TILE * self.dim + key * self.width)
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
        let mut places = [0; TILE];
        let shape = &job.shape;
        let (mut block, mut offset) =
            (keys.start / shape.block_size, keys.start % shape.block_size);
        for place in &mut places[self.keys.clone()] {
            let slot = span.block_table[block] as usize * shape.block_size + offset;
            *place = (slot * shape.kv_heads + kv_head) * shape.head_dim;
            offset += 1;
            if offset == shape.block_size {
                (block, offset) = (block + 1, 0);
            }
        }
        // SAFETY: every place of `keys` is followed by a head's numbers, in both caches.
        unsafe {
            self.transpose_keys::<S, C>(k.as_ptr(), &places);
            self.widen_values::<S, C>(v.as_ptr(), &places);
        }
    }

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
                let row = |i: usize| places[group + i] + d;
                // SAFETY: numbers `d..d + count` of keys that are there; `out` has TILE numbers for each of
                // `dim`.
                unsafe {
                    let mut square = [S::splat(0.0); 16];
                    // No question for every row where all are there.
                    if there.len() == S::LANES && count == S::LANES {
                        for (i, v) in square.iter_mut().enumerate().take(S::LANES) {
                            *v = C::load::<S>(from.add(row(i)), S::LANES);
                        }
                    } else {
                        for key in there.clone() {
                            square[key - group] = C::load::<S>(from.add(row(key - group)), count);
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

    #[inline(always)]
    unsafe fn widen_values<S: LoadHalves, C: CacheNumber>(
        &mut self,
        from: *const C,
        places: &[usize; TILE],
    ) {
        let out = self.numbers.as_mut_ptr().wrapping_add(TILE * self.dim);
        for (key, place) in places.iter().enumerate().take(self.keys.end).skip(self.keys.start) {
            for d in (0..self.dim).step_by(S::LANES) {
                let count = S::LANES.min(self.dim - d);
                // SAFETY: numbers `d..d + count` of a key that is there, and the place of a vector in `out`.
                unsafe {
                    let v = C::load::<S>(from.add(place + d), count);
                    S::store(v, out.add(key * self.width + d), S::LANES);
                }
            }
        }
    }
}
