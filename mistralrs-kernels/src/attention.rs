//! Attention over a paged key/value cache, for any mix of prompts and single tokens.
//!
//! The sum over keys runs in tiles of [`TILE`] positions that begin at multiples of `TILE` in the
//! sequence, with a running maximum; within a tile and from tile to tile the order is that of the
//! positions. So a query's result is the same bits however its sequence was cut or batched.
//! Encoders use the same kernel with the other [`Sight`].
//! Source: online softmax, Milakov and Gimelshein 2018 (arXiv 1805.02867).

mod check;
mod running;
mod score;

use crate::dispatch::{self, Kernels};
use crate::shared::{Scratch, SharedSlice};
use crate::simd::Simd;
use rayon::prelude::*;
use running::{Running, add_tile};
use score::{Places, score};
use std::ops::Range;

/// What all spans of one attention call share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Positions per cache block.
    pub block_size: usize,
    /// Factor of each query-key product.
    pub scale: f32,
    /// How many positions, its own included, a query sees; `None` for all.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// One sequence's queries of this call.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSpan<'a> {
    /// The span's first row in `q` and `out`.
    pub query_start: usize,
    /// Its number of rows; row `r` stands at position `context_len - query_len + r`.
    pub query_len: usize,
    /// Positions in the cache, those of the queries included.
    pub context_len: usize,
    /// The cache block of each `block_size` positions; blocks wholly outside the window may be
    /// anything.
    pub block_table: &'a [u32],
    /// Ranges of positions that see ahead as far as the range goes, besides what they see anyway: the
    /// tokens of one image. A window bounds how far back they see, not how far ahead. Ascending, apart, within `context_len`; only where a query
    /// looks back.
    pub together: &'a [Range<usize>],
}

/// Which way a query looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// At itself and what stands before it.
    Back,
    /// At what follows, too.
    BothWays,
}

impl AttentionSpan<'_> {
    /// The positions that query row `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize, window: Option<usize>, sight: Sight) -> Range<usize> {
        // A row whose position would be negative sees nothing.
        let end = self.context_len.saturating_add(row + 1).saturating_sub(self.query_len);
        let first = window.map_or(0, |window| end.saturating_sub(window));
        match (sight, window) {
            (Sight::Back, _) => self.with_its_group(first..end),
            (Sight::BothWays, None) => 0..self.context_len,
            // The query's own position is `end - 1`.
            (Sight::BothWays, Some(0)) => first..first,
            (Sight::BothWays, Some(window)) => {
                first..end.saturating_add(window - 1).min(self.context_len)
            }
        }
    }

    /// What a query sees that looks back at `seen`, and its group.
    #[inline(always)]
    fn with_its_group(&self, seen: Range<usize>) -> Range<usize> {
        if self.together.is_empty() || seen.end == 0 {
            return seen;
        }
        let position = seen.end - 1;
        let at = self.together.partition_point(|group| group.end <= position);
        match self.together.get(at) {
            Some(group) if group.start <= position => seen.start..seen.end.max(group.end),
            _ => seen,
        }
    }
}

/// Positions per step of the running softmax.
const TILE: usize = 64;
/// Query rows (of all heads that share a key head) that one task takes, about.
const TASK_ROWS: usize = 32;
/// Below so many multiplications, waking threads costs more than they save.
const SERIAL: usize = 64 << 10;

/// Attends from every query to the positions of its sequence that it may see: its own and those
/// before it, within the window, and those of its group.
///
/// `q` and `out` are `[tokens, heads, head_dim]`, the caches `[blocks, block_size, kv_heads,
/// head_dim]`. A row of `out` depends on its own query and the keys and values it sees, to the bit;
/// a query that sees nothing gets zeros; rows of no span stay as they are.
///
/// # Panics
/// If sizes do not fit the shape, a span's rows, positions or blocks lie outside the slices, or
/// two spans share rows.
pub fn paged_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    let cache = (k_cache, v_cache);
    attend_on(dispatch::kernels(), (shape, Sight::Back), q, cache, spans, out);
}

/// As [`paged_attention`], but a query also sees the positions after its own, as many as before
/// it: all, or with a window of `w` those less than `w` away. Each span's rows must be all of its
/// positions (`query_len == context_len`): an encoder has no cache of earlier ones.
///
/// Keys and values that are packed without blocks are a cache of blocks of one position.
///
/// # Panics
/// As [`paged_attention`], and if a span's rows are not all of its positions.
pub fn bidirectional_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    assert!(
        spans.iter().all(|span| span.query_len == span.context_len),
        "a span's rows are not all of its positions"
    );
    let cache = (k_cache, v_cache);
    attend_on(dispatch::kernels(), (shape, Sight::BothWays), q, cache, spans, out);
}

/// One call of [`paged_attention`] or [`bidirectional_attention`], checked.
pub(crate) struct Job<'a> {
    shape: AttentionShape,
    sight: Sight,
    /// Query heads per key head.
    group: usize,
    q: &'a [f32],
    k_cache: &'a [f32],
    v_cache: &'a [f32],
    spans: &'a [AttentionSpan<'a>],
    out: SharedSlice<'a>,
}

/// A part of the work: some query rows of one span, with the heads that share one key head.
pub(crate) struct Task {
    span: usize,
    kv_head: usize,
    rows: Range<usize>,
}

pub(crate) fn attend_on(
    kernels: &Kernels,
    (shape, sight): (&AttentionShape, Sight),
    q: &[f32],
    (k_cache, v_cache): (&[f32], &[f32]),
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    assert_eq!(q.len(), out.len(), "out is not of q's size");
    assert_eq!(k_cache.len(), v_cache.len(), "the caches' sizes differ");
    check::fits(shape, q.len(), k_cache.len(), spans);
    if out.is_empty() {
        return;
    }
    let job = Job {
        shape: *shape,
        sight,
        group: shape.heads / shape.kv_heads,
        q,
        k_cache,
        v_cache,
        spans,
        out: SharedSlice::new(out),
    };
    let mut tasks = tasks(&job);
    let run = |(_, task): &(usize, Task)| {
        // SAFETY: the kernels' instruction set is present, `check::fits` vouches for the sizes,
        // and no two tasks share a row and head.
        unsafe { (kernels.attend)(&job, task) }
    };
    let work: usize = tasks.iter().map(|(cost, _)| cost).sum();
    if work < SERIAL || tasks.len() == 1 {
        return tasks.iter().for_each(run);
    }
    // The dearest first, so that no thread begins a long one when the others are done.
    tasks.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    tasks.par_iter().with_max_len(1).for_each(run);
}

impl Job<'_> {
    #[inline(always)]
    fn visible(&self, span: &AttentionSpan<'_>, row: usize) -> Range<usize> {
        span.visible(row, self.shape.window, self.sight)
    }
}

/// The parts of a job, each with its number of multiplications.
fn tasks(job: &Job<'_>) -> Vec<(usize, Task)> {
    let per_task = (TASK_ROWS / job.group).max(1);
    let mut tasks = Vec::new();
    for (index, span) in job.spans.iter().enumerate() {
        for first in (0..span.query_len).step_by(per_task) {
            let rows = first..span.query_len.min(first + per_task);
            let positions: usize = rows.clone().map(|row| job.visible(span, row).len()).sum();
            let cost = positions.saturating_mul(2 * job.group * job.shape.head_dim);
            for kv_head in 0..job.shape.kv_heads {
                let task = Task { span: index, kv_head, rows: rows.clone() };
                tasks.push((cost, task));
            }
        }
    }
    tasks
}

/// Computes one task's rows of the output. `WIDE` is how many keys or rows a register tile takes.
///
/// # Safety
/// The instruction set is present, the job's sizes were checked, and nobody else writes the
/// task's rows.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd, const WIDE: usize>(job: &Job<'_>, task: &Task) {
    let span = &job.spans[task.span];
    let dim = job.shape.head_dim;
    let rows = task.rows.len() * job.group;
    let mut scratch = Scratch::take(rows * (TILE + dim + 2));
    let (scores, scratch) = scratch.numbers().split_at_mut(rows * TILE);
    let (values, scratch) = scratch.split_at_mut(rows * dim);
    let (largest, total) = scratch.split_at_mut(rows);
    values.fill(0.0);
    largest.fill(f32::NEG_INFINITY);
    total.fill(0.0);
    let mut running = Running { scores, values, largest, total };
    let seen = job.visible(span, task.rows.start).start..job.visible(span, task.rows.end - 1).end;
    for tile in (seen.start / TILE * TILE..seen.end).step_by(TILE) {
        let keys = tile.max(seen.start)..seen.end.min(tile + TILE);
        let places = Places::of(job, span, task.kv_head, tile, &keys);
        // SAFETY: `places` of `keys` lie in the caches.
        unsafe {
            score::<S, WIDE>(job, task, &places, running.scores);
            let mut first = task.rows.start;
            while first < task.rows.end {
                let (end, mine) = same_view(job, task, first, tile);
                if !mine.is_empty() {
                    let rows =
                        (first - task.rows.start) * job.group..(end - task.rows.start) * job.group;
                    add_tile::<S, WIDE>(job, rows, &mine, &places, &mut running);
                }
                first = end;
            }
        }
    }
    write_out(job, task, &running);
}

/// Where the run of query rows ends that see the same positions of a tile as row `first`, and
/// these positions relative to the tile.
#[inline(always)]
fn same_view(job: &Job<'_>, task: &Task, first: usize, tile: usize) -> (usize, Range<usize>) {
    let view = |row: usize| {
        let seen = job.visible(&job.spans[task.span], row);
        let start = seen.start.clamp(tile, tile + TILE) - tile;
        start..(seen.end.clamp(tile, tile + TILE) - tile).max(start)
    };
    let mine = view(first);
    let mut end = first + 1;
    while end < task.rows.end && view(end) == mine {
        end += 1;
    }
    (end, mine)
}

/// Index in `q` and `out` of the first number of a task's row.
#[inline(always)]
fn first_number(job: &Job<'_>, task: &Task, row: usize) -> usize {
    let token = job.spans[task.span].query_start + task.rows.start + row / job.group;
    let head = task.kv_head * job.group + row % job.group;
    (token * job.shape.heads + head) * job.shape.head_dim
}

/// Divides by the sums of weights.
#[inline(always)]
fn write_out(job: &Job<'_>, task: &Task, running: &Running<'_>) {
    let dim = job.shape.head_dim;
    for (row, total) in running.total.iter().enumerate() {
        // SAFETY: the task's own row and head, within the checked size.
        let out = unsafe { job.out.part(first_number(job, task, row), dim) };
        let inverse = if *total == 0.0 { 0.0 } else { 1.0 / total };
        for (out, value) in out.iter_mut().zip(&running.values[row * dim..]) {
            *out = value * inverse;
        }
    }
}

#[cfg(test)]
mod tests;
