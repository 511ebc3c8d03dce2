//! The products of a task's queries with the keys of a tile: a lane per key, the numbers of a head one
//! after the other, so that a product does not depend on which rows and keys are computed beside it.

use super::tile::Tile;
use super::{Job, TILE, Task, first_number};
use crate::simd::Simd;

/// Products of all of a task's rows with all keys of a tile: `scores` is `[rows, TILE]`, those of
/// absent keys arbitrary.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    tile: &Tile<'_>,
    scores: &mut [f32],
) {
    let rows = task.rows.len() * job.group;
    let mut row = 0;
    // SAFETY: the rows are the task's.
    unsafe {
        while row + ROWS <= rows {
            score_rows::<S, ROWS>(job, task, tile, row, scores);
            row += ROWS;
        }
        while ROWS > 4 && row + 4 <= rows {
            score_rows::<S, 4>(job, task, tile, row, scores);
            row += 4;
        }
        while row + 2 <= rows {
            score_rows::<S, 2>(job, task, tile, row, scores);
            row += 2;
        }
        while row < rows {
            score_rows::<S, 1>(job, task, tile, row, scores);
            row += 1;
        }
    }
}

/// Products of `R` rows with all keys of a tile.
#[inline(always)]
unsafe fn score_rows<S: Simd, const R: usize>(
    job: &Job<'_>,
    task: &Task,
    tile: &Tile<'_>,
    row: usize,
    scores: &mut [f32],
) {
    let mut key = tile.keys.start / S::LANES * S::LANES;
    // SAFETY: whole vectors of the tile's keys.
    unsafe {
        while key + 3 * S::LANES < tile.keys.end {
            score_keys::<S, R, 4>(job, task, tile, (row, key), scores);
            key += 4 * S::LANES;
        }
        while key < tile.keys.end {
            score_keys::<S, R, 1>(job, task, tile, (row, key), scores);
            key += S::LANES;
        }
    }
}

/// `R` rows with `N` vectors of keys.
#[inline(always)]
unsafe fn score_keys<S: Simd, const R: usize, const N: usize>(
    job: &Job<'_>,
    task: &Task,
    tile: &Tile<'_>,
    (row, key): (usize, usize),
    scores: &mut [f32],
) {
    // SAFETY: the rows are the task's and the keys the tile's.
    unsafe {
        let q: [*const f32; R] =
            std::array::from_fn(|r| job.q.as_ptr().add(first_number(job, task, row + r)));
        let mut sums = [[S::splat(0.0); N]; R];
        for d in 0..job.shape.head_dim {
            let keys = tile.keys_at(d).add(key);
            let mut of_keys = [S::splat(0.0); N];
            for (n, v) in of_keys.iter_mut().enumerate() {
                *v = S::load(keys.add(n * S::LANES), S::LANES);
            }
            for (sums, q) in sums.iter_mut().zip(q) {
                let q = S::splat(*q.add(d));
                for (sum, v) in sums.iter_mut().zip(of_keys) {
                    *sum = S::mul_add(q, v, *sum);
                }
            }
        }
        let out = scores.as_mut_ptr();
        for (r, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                S::store(*sum, out.add((row + r) * TILE + key + n * S::LANES), S::LANES);
            }
        }
    }
}
