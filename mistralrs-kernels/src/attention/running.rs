//! The running softmax: a tile's scores become weights, and its values are added with them.

use super::tile::Tile;
use super::{AttentionShape, Job, TILE, Task, seen};
use crate::elementwise::body::{max, sum};
use crate::math::{exp, tanh};
use crate::simd::Simd;
use std::ops::Range;

/// The running softmax of a task's rows (`[query rows, group]`, flattened).
pub(super) struct Running<'a> {
    /// Scores, then weights, of one tile: `[rows, TILE]`.
    pub(super) scores: &'a mut [f32],
    /// Weighted sums of values: `[rows, head_dim]`.
    pub(super) values: &'a mut [f32],
    /// The largest score so far, per row.
    pub(super) largest: &'a mut [f32],
    /// The sum of weights so far, per row.
    pub(super) total: &'a mut [f32],
}

/// Adds the tile that begins at position `start`, whose scores are there, to all rows of a task.
#[inline(always)]
pub(super) unsafe fn add_tile<S: Simd, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    (start, tile): (usize, &Tile<'_>),
    running: &mut Running<'_>,
) {
    let dim = job.shape.head_dim;
    let rows = task.rows.len() * job.group;
    for row in 0..rows {
        let mine = seen(job, task, row, start);
        let Some(scores) = running.scores[row * TILE..].first_chunk_mut::<TILE>() else {
            return;
        };
        if mine.is_empty() {
            continue;
        }
        let shrink = weigh(&job.shape, &mine, scores, &mut running.largest[row]);
        running.total[row] = running.total[row] * shrink + sum(scores);
        // Most tiles hold no new largest score.
        if shrink != 1.0 {
            for value in &mut running.values[row * dim..(row + 1) * dim] {
                *value *= shrink;
            }
        }
    }
    let mut row = 0;
    // SAFETY: the rows are the task's own, their memory within `running`.
    unsafe {
        while row + ROWS <= rows {
            add_rows::<S, ROWS>(job, task, (row, start), tile, running);
            row += ROWS;
        }
        while ROWS > 4 && row + 4 <= rows {
            add_rows::<S, 4>(job, task, (row, start), tile, running);
            row += 4;
        }
        while row + 2 <= rows {
            add_rows::<S, 2>(job, task, (row, start), tile, running);
            row += 2;
        }
        while row < rows {
            add_rows::<S, 1>(job, task, (row, start), tile, running);
            row += 1;
        }
    }
}

/// Turns a row's products into weights relative to its largest score so far, and returns the
/// factor that brings earlier sums to the same measure.
#[inline(always)]
fn weigh(
    shape: &AttentionShape,
    mine: &Range<usize>,
    scores: &mut [f32; TILE],
    largest: &mut f32,
) -> f32 {
    for score in scores.iter_mut() {
        *score *= shape.scale;
    }
    if let Some(cap) = shape.softcap {
        for score in scores.iter_mut() {
            *score = cap * tanh(*score / cap);
        }
    }
    // What lies outside was never computed or belongs to other queries.
    scores[..mine.start].fill(f32::NEG_INFINITY);
    scores[mine.end..].fill(f32::NEG_INFINITY);
    let before = *largest;
    let now = max(scores);
    let now = if now > before { now } else { before };
    for score in scores.iter_mut() {
        *score = exp(*score - now);
    }
    *largest = now;
    exp(before - now)
}

/// Adds the weighted values of a tile to `R` rows: those that all of them see together, what stands
/// before and behind row by row. Every row adds its positions in their order.
#[inline(always)]
unsafe fn add_rows<S: Simd, const R: usize>(
    job: &Job<'_>,
    task: &Task,
    (row, start): (usize, usize),
    tile: &Tile<'_>,
    running: &mut Running<'_>,
) {
    let views: [Range<usize>; R] = std::array::from_fn(|r| seen(job, task, row + r, start));
    let first = views.iter().map(|view| view.start).max().unwrap_or(0);
    let end = views.iter().map(|view| view.end).min().unwrap_or(0);
    let empty = views.iter().any(Range::is_empty);
    // SAFETY: as the caller vouches.
    unsafe {
        if empty || first >= end {
            for (r, view) in views.into_iter().enumerate() {
                add_values::<S, 1>(job, row + r, view, tile, running);
            }
            return;
        }
        for (r, view) in views.iter().enumerate().filter(|(_, view)| view.start < first) {
            add_values::<S, 1>(job, row + r, view.start..first, tile, running);
        }
        add_values::<S, R>(job, row, first..end, tile, running);
        for (r, view) in views.iter().enumerate().filter(|(_, view)| view.end > end) {
            add_values::<S, 1>(job, row + r, end..view.end, tile, running);
        }
    }
}

/// Adds the weighted values of the positions `mine` of a tile to `R` rows.
#[inline(always)]
unsafe fn add_values<S: Simd, const R: usize>(
    job: &Job<'_>,
    row: usize,
    mine: Range<usize>,
    tile: &Tile<'_>,
    running: &mut Running<'_>,
) {
    let dim = job.shape.head_dim;
    let mut first = 0;
    // SAFETY: columns up to `dim` of rows and values exist.
    unsafe {
        while first + 4 * S::LANES <= dim {
            add_columns::<S, R, 4>(job, (row, first, S::LANES), &mine, tile, running);
            first += 4 * S::LANES;
        }
        while first < dim {
            let count = S::LANES.min(dim - first);
            add_columns::<S, R, 1>(job, (row, first, count), &mine, tile, running);
            first += count;
        }
    }
}

/// The same for `N` vectors of columns from `first`, `count` of each vector's lanes in use.
#[inline(always)]
unsafe fn add_columns<S: Simd, const R: usize, const N: usize>(
    job: &Job<'_>,
    (row, first, count): (usize, usize, usize),
    mine: &Range<usize>,
    tile: &Tile<'_>,
    running: &mut Running<'_>,
) {
    let dim = job.shape.head_dim;
    let values = running.values.as_mut_ptr();
    let weights = running.scores.as_ptr();
    // SAFETY: the caller vouches for rows and columns, the tile for its values.
    unsafe {
        let place = |r: usize, n: usize| values.add((row + r) * dim + first + n * S::LANES);
        let mut sums = [[S::splat(0.0); N]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(place(r, n), count);
            }
        }
        for key in mine.clone() {
            let value = tile.value(key).add(first);
            let mut of_value = [S::splat(0.0); N];
            for (n, v) in of_value.iter_mut().enumerate() {
                *v = S::load(value.add(n * S::LANES), count);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = S::splat(*weights.add((row + r) * TILE + key));
                for (sum, v) in sums.iter_mut().zip(of_value) {
                    *sum = S::mul_add(weight, v, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                S::store(*sum, place(r, n), count);
            }
        }
    }
}
