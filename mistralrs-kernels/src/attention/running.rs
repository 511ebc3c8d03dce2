//! The running softmax: a tile's scores become weights, and its values are added with them.

use super::tile::Tile;
use super::{AttentionShape, Job, TILE, Task, seen};
use crate::math::{exp, tanh};
use crate::simd::{Exponential, Simd};
use std::ops::Range;

/// The running softmax of a task's rows (`[query rows, group]`, flattened).
pub(super) struct Running<'a> {
    /// Scores, then weights, of one tile: `[rows, TILE]`.
    pub(super) scores: &'a mut [f32],
    /// Weighted sums of values: `[rows, head_dim]`.
    pub(super) values: &'a mut [f32],
    /// The largest score so far, per row.
    pub(super) largest: &'a mut [f32],
    /// The largest score, that of the next tile included, per row.
    pub(super) next_largest: &'a mut [f32],
    /// The sum of weights so far, per row.
    pub(super) total: &'a mut [f32],
}

/// Adds the tile that begins at position `start`, whose scores are there, to all rows of a task.
#[inline(always)]
pub(super) unsafe fn add_tile<S: Exponential, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    (start, tile): (usize, &Tile<'_>),
    running: &mut Running<'_>,
) {
    let rows = task.rows.len() * job.group;
    let whole = is_seen_by_all(job, task, start);
    let views = |row| if whole { 0..TILE } else { seen(job, task, row, start) };
    // In two passes: what is done for one row does not wait for what is done for another.
    for row in 0..rows {
        let scores = row * TILE..(row + 1) * TILE;
        // SAFETY: as the caller vouches.
        running.next_largest[row] = unsafe {
            measure::<S>(&job.shape, &views(row), &mut running.scores[scores], running.largest[row])
        };
    }
    for row in (0..rows).filter(|row| whole || !views(*row).is_empty()) {
        // SAFETY: as the caller vouches.
        unsafe { weigh::<S>(running, row, job.shape.head_dim) };
    }
    let mut row = 0;
    // SAFETY: the rows are the task's own, their memory within `running`.
    unsafe {
        while row + ROWS <= rows {
            add_rows::<S, ROWS>(job, task, (row, start, whole), tile, running);
            row += ROWS;
        }
        while ROWS > 4 && row + 4 <= rows {
            add_rows::<S, 4>(job, task, (row, start, whole), tile, running);
            row += 4;
        }
        while row + 2 <= rows {
            add_rows::<S, 2>(job, task, (row, start, whole), tile, running);
            row += 2;
        }
        while row < rows {
            add_rows::<S, 1>(job, task, (row, start, whole), tile, running);
            row += 1;
        }
    }
}

/// Whether every row of a task sees the whole tile that begins at position `start`. What rows see moves
/// on from row to row at both ends, so the first and the last decide.
#[inline(always)]
fn is_seen_by_all(job: &Job<'_>, task: &Task, start: usize) -> bool {
    let last = task.rows.len() * job.group - 1;
    [0, last].into_iter().all(|row| seen(job, task, row, start) == (0..TILE))
}

/// Turns a row's products with a tile's keys into scores, those of positions it does not see into nothing,
/// and returns the largest score so far.
#[inline(always)]
unsafe fn measure<S: Exponential>(
    shape: &AttentionShape,
    mine: &Range<usize>,
    scores: &mut [f32],
    before: f32,
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
    // SAFETY: the instruction set is present, and a tile is whole vectors.
    unsafe {
        let mut largest = S::splat(before);
        for at in (0..TILE).step_by(S::LANES) {
            largest = S::max(S::load(scores.as_ptr().add(at), S::LANES), largest);
        }
        S::largest(largest)
    }
}

/// Turns a row's scores into weights relative to its largest score so far, and brings earlier sums to the
/// same measure.
#[inline(always)]
unsafe fn weigh<S: Exponential>(running: &mut Running<'_>, row: usize, dim: usize) {
    let (before, now) = (running.largest[row], running.next_largest[row]);
    let scores = running.scores[row * TILE..(row + 1) * TILE].as_mut_ptr();
    let mut sum;
    // SAFETY: the instruction set is present, and a tile is whole vectors.
    unsafe {
        sum = S::splat(0.0);
        for at in (0..TILE).step_by(S::LANES) {
            let scores = scores.add(at);
            let weights = S::exp(S::add(S::load(scores, S::LANES), S::splat(-now)));
            sum = S::add(sum, weights);
            S::store(weights, scores, S::LANES);
        }
    }
    // SAFETY: the instruction set is present.
    let sum = unsafe { S::sum(sum) };
    // Most tiles hold no new largest score.
    if before == now {
        running.total[row] += sum;
        return;
    }
    let shrink = exp(before - now);
    running.largest[row] = now;
    running.total[row] = running.total[row] * shrink + sum;
    for value in &mut running.values[row * dim..(row + 1) * dim] {
        *value *= shrink;
    }
}

/// Adds the weighted values of a tile to `R` rows: those that all of them see together, what stands
/// before and behind row by row. Every row adds its positions in their order.
#[inline(always)]
unsafe fn add_rows<S: Simd, const R: usize>(
    job: &Job<'_>,
    task: &Task,
    (row, start, whole): (usize, usize, bool),
    tile: &Tile<'_>,
    running: &mut Running<'_>,
) {
    if whole {
        // SAFETY: as the caller vouches.
        return unsafe { add_values::<S, R>(job, row, 0..TILE, tile, running) };
    }
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
