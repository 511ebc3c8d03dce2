//! A tile of the paged cache as the arithmetic wants it: keys transposed, so that a vector holds one
//! number of many keys, and values row by row. Both as f32, whatever the cache holds. Knows places, not
//! queries.

use super::quantized::{self, q8_head_bytes};
use super::{AttentionSpan, Job, TILE};
use crate::simd::LoadHalves;
use half::f16;
use std::ops::Range;

/// What the cache is made of: numbers, or the bytes of [`quantized`] ones.
pub(crate) trait CacheNumber: Copy {
    /// How many of them are a head of `head_dim` numbers.
    fn per_head(head_dim: usize) -> usize {
        head_dim
    }

    /// Numbers `d..d + count` of the head at `head`, widened exactly; the lanes behind them are of no use. `d` is a
    /// multiple of `LANES` and `count` at most `LANES`.
    ///
    /// # Safety
    /// The instruction set is present, and the head has these numbers.
    unsafe fn load<S: LoadHalves>(head: *const Self, d: usize, count: usize) -> S::V;
}

impl CacheNumber for f32 {
    #[inline(always)]
    unsafe fn load<S: LoadHalves>(head: *const f32, d: usize, count: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::load(head.add(d), count) }
    }
}

impl CacheNumber for f16 {
    #[inline(always)]
    unsafe fn load<S: LoadHalves>(head: *const f16, d: usize, count: usize) -> S::V {
        // SAFETY: as the caller vouches; halves lie in memory as little-endian bytes here.
        unsafe { S::load_halves::<false>(head.add(d).cast(), count) }
    }
}

impl CacheNumber for u8 {
    fn per_head(head_dim: usize) -> usize {
        q8_head_bytes(head_dim)
    }

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(head: *const u8, d: usize, count: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { quantized::load::<S>(head, d, count) }
    }
}

/// A thread's tile of one key head.
pub(super) struct Tile<'a> {
    /// The keys, `[dim, TILE]`; behind them the values, `[TILE, width]`.
    numbers: &'a mut [f32],
    pub(super) dim: usize,
    /// Numbers of a value and what is behind them, so that it is whole vectors.
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

    /// The numbers of one value, then what fills the last vector.
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
        let per_head = C::per_head(shape.head_dim);
        let (mut block, mut offset) =
            (keys.start / shape.block_size, keys.start % shape.block_size);
        for place in &mut places[self.keys.clone()] {
            let slot = span.block_table[block] as usize * shape.block_size + offset;
            *place = (slot * shape.kv_heads + kv_head) * per_head;
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
                let head = |i: usize| from.wrapping_add(places[group + i]);
                // SAFETY: numbers `d..d + count` of keys that are there; `out` has TILE numbers for each of
                // `dim`.
                unsafe {
                    let mut square = [S::splat(0.0); 16];
                    // No question for every row where all are there.
                    if there.len() == S::LANES && count == S::LANES {
                        for (i, v) in square.iter_mut().enumerate().take(S::LANES) {
                            *v = C::load::<S>(head(i), d, S::LANES);
                        }
                    } else {
                        for key in there.clone() {
                            square[key - group] = C::load::<S>(head(key - group), d, count);
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
                    let v = C::load::<S>(from.add(*place), d, count);
                    S::store(v, out.add(key * self.width + d), S::LANES);
                }
            }
        }
    }
}
