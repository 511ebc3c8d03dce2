//! The products of a few queries with the keys of a tile: a lane per key, the numbers of a head one
//! after the other, so that a product does not depend on which rows and keys are computed beside it.

use super::TILE;
use super::tile::Tile;
use crate::simd::Simd;

/// Scores, then weights, of `R` rows: what a tile's keys are to them.
#[repr(C, align(64))]
pub(super) struct Scores<const R: usize>(pub(super) [[f32; TILE]; R]);

/// The products of `R` queries, one after the other at `q`, with all keys of a tile; those of absent keys
/// are arbitrary.
///
/// # Safety
/// The instruction set is present; `R` rows of the tile's `dim` are at `q`.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, const R: usize>(
    q: *const f32,
    tile: &Tile<'_>,
    scores: &mut Scores<R>,
) {
    let mut key = tile.keys.start / S::LANES * S::LANES;
    // SAFETY: whole vectors of the tile's keys.
    unsafe {
        while key + 3 * S::LANES < tile.keys.end {
            score_keys::<S, R, 4>(q, tile, key, scores);
            key += 4 * S::LANES;
        }
        while key < tile.keys.end {
            score_keys::<S, R, 1>(q, tile, key, scores);
            key += S::LANES;
        }
    }
}

/// `R` rows with `N` vectors of keys from `key`.
#[inline(always)]
unsafe fn score_keys<S: Simd, const R: usize, const N: usize>(
    q: *const f32,
    tile: &Tile<'_>,
    key: usize,
    scores: &mut Scores<R>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; R];
        for d in 0..tile.dim {
            let keys = tile.keys_at(d).add(key);
            let mut of_keys = [S::splat(0.0); N];
            for (n, v) in of_keys.iter_mut().enumerate() {
                *v = S::load(keys.add(n * S::LANES), S::LANES);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let q = S::splat(*q.add(r * tile.dim + d));
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
