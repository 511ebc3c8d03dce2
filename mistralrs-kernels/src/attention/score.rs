//! The products of a few queries with the keys of a tile: a lane per key, the numbers of a head one
//! after the other, so that a product does not depend on which rows and keys are computed beside it.

use super::TILE;
use super::tile::Source;
use crate::simd::LoadHalves;
use std::ops::Range;

/// Scores, then weights, of `R` rows: what a tile's keys are to them.
#[repr(C, align(64))]
pub(super) struct Scores<const R: usize>(pub(super) [[f32; TILE]; R]);

/// The products of `R` queries, one after the other at `q`, with some keys of a tile, which are there, and with what
/// fills their vectors.
///
/// # Safety
/// The instruction set is present; `R` rows of the tile's `dim` are at `q`.
#[inline(always)]
pub(super) unsafe fn score<S: LoadHalves, T: Source<S>, const R: usize>(
    q: *const f32,
    tile: &T,
    keys: &Range<usize>,
    scores: &mut Scores<R>,
) {
    let mut key = keys.start / S::LANES * S::LANES;
    // SAFETY: whole vectors of the tile's keys.
    unsafe {
        // The sums of more rows have no room in the registers for so many keys.
        while R <= 6 && key + 3 * S::LANES < keys.end {
            score_keys::<S, T, R, 4>(q, tile, key, scores);
            key += 4 * S::LANES;
        }
        while key + S::LANES < keys.end {
            score_keys::<S, T, R, 2>(q, tile, key, scores);
            key += 2 * S::LANES;
        }
        while key < keys.end {
            score_keys::<S, T, R, 1>(q, tile, key, scores);
            key += S::LANES;
        }
    }
}

/// `R` rows with `N` vectors of keys from `key`.
#[inline(always)]
unsafe fn score_keys<S: LoadHalves, T: Source<S>, const R: usize, const N: usize>(
    q: *const f32,
    tile: &T,
    key: usize,
    scores: &mut Scores<R>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; R];
        let dim = tile.sizes().0;
        for d in 0..dim {
            let of_keys: [_; N] = tile.numbers(d, key);
            for (r, sums) in sums.iter_mut().enumerate() {
                let q = S::splat(*q.add(r * dim + d));
                for (sum, v) in sums.iter_mut().zip(of_keys) {
                    *sum = S::mul_add(q, v, *sum);
                }
            }
        }
        for (sums, scores) in sums.iter().zip(&mut scores.0) {
            for (n, sum) in sums.iter().enumerate() {
                S::store(*sum, scores.as_mut_ptr().add(key + n * S::LANES), S::LANES);
            }
        }
    }
}
