//! The running softmax: a tile's scores become weights, and its values are added with them, a few rows at
//! a time, so that what a row does in between stays in the nearest cache.

use super::score::{Scores, score};
use super::sums::Sums;
use super::tile::Source;
use super::{AttentionShape, TILE};
use crate::math::tanh;
use crate::simd::{Exponential, LoadHalves};
use std::ops::Range;

/// Rows that are computed side by side, at most.
pub(super) const MOST_ROWS: usize = 8;

/// A task's rows (`[query rows, group]`, flattened) and how far their softmax has come.
pub(super) struct Running<'a> {
    /// The positions that each row sees.
    pub(super) seen: &'a [Range<usize>],
    /// Queries, times the scale: `[rows, head_dim]`.
    pub(super) q: &'a [f32],
    /// What it has come to.
    pub(super) sums: Sums<'a>,
}

/// Adds the tile that begins at position `start` to all rows, in parts of nearly the same length, `ROWS` or
/// fewer: what few rows do one after the other would wait for itself.
///
/// # Safety
/// The instruction set is present; the tile has been read as far as the rows see it.
#[inline(always)]
pub(super) unsafe fn add_tile<S: Exponential, T: Source<S>, const ROWS: usize>(
    shape: &AttentionShape,
    (start, tile): (usize, &T),
    running: &mut Running<'_>,
) {
    const { assert!(ROWS <= MOST_ROWS, "no part is longer") };
    let rows = running.seen.len();
    let parts = rows.div_ceil(ROWS);
    let (short, longer) = (rows / parts, rows % parts);
    let mut row = 0;
    for part in 0..parts {
        let count = short + usize::from(part < longer);
        // SAFETY: as the caller vouches; the rows are there.
        unsafe {
            match count {
                8 if ROWS >= 8 => add_rows::<S, T, 8>(shape, (start, tile), row, running),
                7 if ROWS >= 7 => add_rows::<S, T, 7>(shape, (start, tile), row, running),
                6 if ROWS >= 6 => add_rows::<S, T, 6>(shape, (start, tile), row, running),
                5 if ROWS >= 5 => add_rows::<S, T, 5>(shape, (start, tile), row, running),
                4 if ROWS >= 4 => add_rows::<S, T, 4>(shape, (start, tile), row, running),
                3 if ROWS >= 3 => add_rows::<S, T, 3>(shape, (start, tile), row, running),
                2 => add_rows::<S, T, 2>(shape, (start, tile), row, running),
                _ => add_rows::<S, T, 1>(shape, (start, tile), row, running),
            }
        }
        row += count;
    }
}

/// Adds a tile to the `R` rows from `row`.
#[inline(always)]
unsafe fn add_rows<S: Exponential, T: Source<S>, const R: usize>(
    shape: &AttentionShape,
    (start, tile): (usize, &T),
    row: usize,
    running: &mut Running<'_>,
) {
    let within = |at: usize| at.clamp(start, start + TILE) - start;
    let mut views: [Range<usize>; R] = [const { 0..0 }; R];
    // What none of them sees is not computed.
    let (mut first, mut end) = (TILE, 0);
    for (view, seen) in views.iter_mut().zip(&running.seen[row..row + R]) {
        *view = within(seen.start)..within(seen.end).max(within(seen.start));
        if view.start < view.end {
            (first, end) = (first.min(view.start), end.max(view.end));
        }
    }
    if first >= end {
        return;
    }
    let mut scores = Scores([[0.0; TILE]; R]);
    // SAFETY: as the caller vouches; queries and values of `R` rows are there.
    unsafe {
        let q = running.q.as_ptr().add(row * tile.sizes().0);
        score::<S, T, R>(q, tile, &(first..end), &mut scores);
        let vectors = first / S::LANES * S::LANES..end.next_multiple_of(S::LANES);
        let before = &running.sums.largest[row..row + R];
        let largest = measure::<S, R>(shape.softcap, (&views, &vectors), &mut scores, before);
        let shrink = weigh::<S, R>((row, &vectors), &largest, &mut scores, running);
        let values = running.sums.values.as_mut_ptr().add(row * running.sums.width);
        add_views::<S, T, R>((&views, shrink), &scores, tile, values);
    }
}

/// Caps the scores, takes those out that a row does not see, and returns each row's largest one so far.
#[inline(always)]
unsafe fn measure<S: Exponential, const R: usize>(
    softcap: Option<f32>,
    (views, keys): (&[Range<usize>; R], &Range<usize>),
    scores: &mut Scores<R>,
    before: &[f32],
) -> [f32; R] {
    for (scores, view) in scores.0.iter_mut().zip(views) {
        if let Some(cap) = softcap {
            for score in &mut scores[keys.clone()] {
                *score = cap * tanh(*score / cap);
            }
        }
        // What lies outside was never computed or belongs to other queries.
        if view != keys {
            let within = |at: usize| at.clamp(keys.start, keys.end);
            scores[keys.start..within(view.start)].fill(f32::NEG_INFINITY);
            scores[within(view.end)..keys.end].fill(f32::NEG_INFINITY);
        }
    }
    // SAFETY: the instruction set is present, and these are whole vectors.
    unsafe {
        let mut lanes = [S::splat(0.0); R];
        for (lanes, before) in lanes.iter_mut().zip(before) {
            *lanes = S::splat(*before);
        }
        for at in keys.clone().step_by(S::LANES) {
            for (lanes, scores) in lanes.iter_mut().zip(&scores.0) {
                *lanes = S::max(S::load(scores.as_ptr().add(at), S::LANES), *lanes);
            }
        }
        let mut largest = [0.0; R];
        for (largest, lanes) in largest.iter_mut().zip(lanes) {
            *largest = S::largest(lanes);
        }
        largest
    }
}

/// Turns scores into weights relative to each row's largest score so far, and brings earlier sums of weights to
/// the same measure. Returns the factors that do so. All rows go side by side and without a branch: a row by
/// itself waits for every step of its exponentials.
#[inline(always)]
unsafe fn weigh<S: Exponential, const R: usize>(
    (row, keys): (usize, &Range<usize>),
    largest: &[f32; R],
    scores: &mut Scores<R>,
    running: &mut Running<'_>,
) -> [f32; R] {
    let before = &mut running.sums.largest[row..row + R];
    let total = &mut running.sums.total[row..row + R];
    let mut shrink = [0.0; 16];
    for ((shrink, before), now) in shrink.iter_mut().zip(&mut *before).zip(largest) {
        *shrink = std::mem::replace(before, *now) - now;
    }
    // SAFETY: the instruction set is present; a tile is whole vectors, and so are 16 numbers.
    unsafe {
        let mut sums = [S::splat(0.0); R];
        for at in keys.clone().step_by(S::LANES) {
            for ((scores, sum), now) in scores.0.iter_mut().zip(&mut sums).zip(largest) {
                let scores = scores.as_mut_ptr().add(at);
                let weights = S::exp(S::add(S::load(scores, S::LANES), S::splat(-now)));
                *sum = S::add(*sum, weights);
                S::store(weights, scores, S::LANES);
            }
        }
        for at in (0..R).step_by(S::LANES) {
            let shrink = shrink.as_mut_ptr().add(at);
            S::store(S::exp(S::load(shrink, S::LANES)), shrink, S::LANES);
        }
        for ((total, shrink), sum) in total.iter_mut().zip(shrink).zip(sums) {
            *total = *total * shrink + S::sum(sum);
        }
    }
    let mut factors = [0.0; R];
    factors.copy_from_slice(&shrink[..R]);
    factors
}

/// Shrinks the earlier values of `R` rows and adds the weighted ones of a tile: those that all rows see together,
/// what stands before and behind row by row. Every row adds its positions in their order.
#[inline(always)]
unsafe fn add_views<S: LoadHalves, T: Source<S>, const R: usize>(
    (views, mut shrink): (&[Range<usize>; R], [f32; R]),
    scores: &Scores<R>,
    tile: &T,
    values: *mut f32,
) {
    // An empty view leaves nothing that all see.
    let (mut first, mut end) = (0, TILE);
    for view in views {
        (first, end) = (first.max(view.start), end.min(view.end));
    }
    let width = tile.sizes().1;
    let together = if first >= end { 0..0 } else { first..end };
    // One place in the code adds to a row by itself, though it happens twice: a copy of it for every number of rows
    // would be most of the kernel.
    for is_behind in [false, true] {
        if is_behind {
            // Without positions that all see, a row has added all of its own, or sees none and its values stay.
            if together.is_empty() {
                return;
            }
            let part = (together.clone(), shrink);
            // SAFETY: as the caller vouches.
            unsafe { add_values::<S, T, R>(part, scores.0.as_ptr().cast(), tile, values) };
        }
        for (r, view) in views.iter().enumerate() {
            let alone = match (is_behind, together.is_empty()) {
                (true, _) => end..view.end,
                (false, true) => view.clone(),
                (false, false) => view.start..first,
            };
            if alone.is_empty() {
                continue;
            }
            let by = if is_behind { 1.0 } else { std::mem::replace(&mut shrink[r], 1.0) };
            let weights = scores.0[r].as_ptr();
            // SAFETY: as the caller vouches.
            unsafe { add_values::<S, T, 1>((alone, [by]), weights, tile, values.add(r * width)) };
        }
    }
}

/// Shrinks `R` rows of `values` and adds the weighted values of some positions of a tile.
#[inline(always)]
unsafe fn add_values<S: LoadHalves, T: Source<S>, const R: usize>(
    (keys, shrink): (Range<usize>, [f32; R]),
    weights: *const f32,
    tile: &T,
    values: *mut f32,
) {
    if keys.is_empty() {
        return;
    }
    let (mut first, width) = (0, tile.sizes().1);
    let part = (&keys, &shrink);
    // SAFETY: whole vectors of rows and values.
    unsafe {
        while first < width {
            first += match (width - first) / S::LANES {
                // As for scores.
                2.. if R > 6 => add_columns::<S, T, R, 2>(part, weights, tile, first, values),
                // Five are better cut into three and two than into four and one; for one row, which sees few
                // positions that others do not, it matters little.
                2 if R > 1 => add_columns::<S, T, R, 2>(part, weights, tile, first, values),
                3 | 5 if R > 1 => add_columns::<S, T, R, 3>(part, weights, tile, first, values),
                4.. => add_columns::<S, T, R, 4>(part, weights, tile, first, values),
                _ => add_columns::<S, T, R, 1>(part, weights, tile, first, values),
            };
        }
    }
}

/// The same for `N` vectors of columns from `first`; returns how many columns that are.
#[inline(always)]
unsafe fn add_columns<S: LoadHalves, T: Source<S>, const R: usize, const N: usize>(
    (keys, shrink): (&Range<usize>, &[f32; R]),
    weights: *const f32,
    tile: &T,
    first: usize,
    values: *mut f32,
) -> usize {
    // SAFETY: the caller vouches for rows and columns, the tile for its values.
    unsafe {
        let width = tile.sizes().1;
        let place = |r: usize, n: usize| values.add(r * width + first + n * S::LANES);
        let zero = S::splat(0.0);
        let mut sums = [[zero; N]; R];
        for (r, (sums, shrink)) in sums.iter_mut().zip(shrink).enumerate() {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = S::mul_add(S::load(place(r, n), S::LANES), S::splat(*shrink), zero);
            }
        }
        let mut key = keys.start;
        while key < keys.end {
            let (values, count) = tile.values(key, first);
            let count = count.min(keys.end - key);
            for i in 0..count {
                let of_value: [_; N] = tile.value(values, i);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(r * TILE + key + i));
                    for (sum, v) in sums.iter_mut().zip(of_value) {
                        *sum = S::mul_add(weight, v, *sum);
                    }
                }
            }
            key += count;
        }
        for (r, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                S::store(*sum, place(r, n), S::LANES);
            }
        }
    }
    N * S::LANES
}
