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
mod tile;

use crate::dispatch::{self, Kernels};
use crate::pool;
use crate::shared::{Scratch, SharedSlice};
use crate::simd::Exponential;
use half::f16;
use running::{Running, add_tile};
use std::ops::Range;
use tile::{CacheNumber, Tile};

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

/// Keys or values of the paged cache: `[blocks, block_size, kv_heads, head_dim]`.
#[derive(Debug, Clone, Copy)]
pub enum CacheSlice<'a> {
    /// As they were computed.
    F32(&'a [f32]),
    /// Rounded to halves; attention computes in `f32` all the same.
    F16(&'a [f16]),
}

impl CacheSlice<'_> {
    /// How many numbers there are.
    #[expect(clippy::len_without_is_empty, reason = "a cache is never asked")]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
        }
    }
}

/// Positions per step of the running softmax.
const TILE: usize = 64;
/// Query rows (of all heads that share a key head) that one task takes at least: so many that a tile's keys are
/// worth transposing. More if all threads have tasks enough.
const TASK_ROWS: usize = 64;
/// Numbers of a task's queries at most: with as many values they stay in the second-level cache.
const TASK_NUMBERS: usize = 64 << 10;
/// Tasks per thread that are enough.
const TASKS: usize = 8;
/// Below so many multiplications, waking threads costs more than they save.
const SERIAL: usize = 64 << 10;

/// Attends from every query to the positions of its sequence that it may see: its own and those
/// before it, within the window, and those of its group.
///
/// `q` and the result are `[tokens, heads, head_dim]`, both caches are of one kind. A row of the result
/// depends on its own query and the keys and values it sees, to the bit; a query that sees nothing gets
/// zeros, and so do rows of no span.
///
/// # Panics
/// If sizes or kinds do not fit, a span's rows, positions or blocks lie outside the slices, or
/// two spans share rows.
pub fn paged_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: CacheSlice<'_>,
    v_cache: CacheSlice<'_>,
    spans: &[AttentionSpan<'_>],
) -> Vec<f32> {
    attend_on(dispatch::kernels(), (shape, Sight::Back), q, (k_cache, v_cache), spans)
}

/// As [`paged_attention`], but a query also sees the positions after its own, as many as before
/// it: all, or with a window of `w` those less than `w` away. With a window, each span's rows must be all of
/// its positions (`query_len == context_len`): an encoder has no cache of earlier ones. Without one, a span
/// may have more or fewer queries than positions.
///
/// Keys and values that are packed without blocks are a cache of blocks of one position.
///
/// # Panics
/// As [`paged_attention`], and if there is a window and a span's rows are not all of its positions.
pub fn bidirectional_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: CacheSlice<'_>,
    v_cache: CacheSlice<'_>,
    spans: &[AttentionSpan<'_>],
) -> Vec<f32> {
    assert!(
        shape.window.is_none() || spans.iter().all(|span| span.query_len == span.context_len),
        "a span's rows are not all of its positions"
    );
    attend_on(dispatch::kernels(), (shape, Sight::BothWays), q, (k_cache, v_cache), spans)
}

/// One call of [`paged_attention`] or [`bidirectional_attention`], checked.
pub(crate) struct Job<'a> {
    shape: AttentionShape,
    sight: Sight,
    /// Query heads per key head.
    group: usize,
    q: &'a [f32],
    k_cache: CacheSlice<'a>,
    v_cache: CacheSlice<'a>,
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
    (k_cache, v_cache): (CacheSlice<'_>, CacheSlice<'_>),
    spans: &[AttentionSpan<'_>],
) -> Vec<f32> {
    assert_eq!(k_cache.len(), v_cache.len(), "the caches' sizes differ");
    assert_eq!(
        std::mem::discriminant(&k_cache),
        std::mem::discriminant(&v_cache),
        "the caches' kinds differ"
    );
    check::fits(shape, q.len(), k_cache.len(), spans);
    let mut out = Vec::with_capacity(q.len());
    let rows: usize = spans.iter().map(|span| span.query_len).sum();
    if rows * shape.heads * shape.head_dim < q.len() {
        out.resize(q.len(), 0.0);
        out.clear();
    }
    if q.is_empty() {
        return out;
    }
    let job = Job {
        shape: *shape,
        sight,
        group: shape.heads / shape.kv_heads,
        q,
        k_cache,
        v_cache,
        spans,
        out: SharedSlice::unwritten(&mut out.spare_capacity_mut()[..q.len()]),
    };
    let mut tasks = tasks(&job);
    let run = |(_, task): &(usize, Task)| {
        // SAFETY: the kernels' instruction set is present, `check::fits` vouches for the sizes,
        // and no two tasks share a row and head.
        unsafe { (kernels.attend)(&job, task) }
    };
    let work: usize = tasks.iter().map(|(cost, _)| cost).sum();
    if work < SERIAL || tasks.len() == 1 {
        tasks.iter().for_each(run);
    } else {
        // The dearest first, so that no thread begins a long one when the others are done.
        tasks.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        pool::in_parallel(tasks.len(), |at| run(&tasks[at]));
    }
    // SAFETY: the tasks have written the rows of all spans; if there are others, all are zeros.
    unsafe { out.set_len(q.len()) };
    out
}

impl Job<'_> {
    #[inline(always)]
    fn visible(&self, span: &AttentionSpan<'_>, row: usize) -> Range<usize> {
        span.visible(row, self.shape.window, self.sight)
    }
}

/// The parts of a job, each with its number of multiplications.
fn tasks(job: &Job<'_>) -> Vec<(usize, Task)> {
    let queries: usize = job.spans.iter().map(|span| span.query_len).sum();
    let rows = queries * job.shape.heads / (TASKS * pool::threads());
    let most = TASK_ROWS.max(TASK_NUMBERS / job.shape.head_dim);
    let per_task = (rows.clamp(TASK_ROWS, most) / job.group).max(1);
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

/// Computes one task's rows of the output. `ROWS` is how many of them a register tile takes.
///
/// # Safety
/// The instruction set is present, the job's sizes were checked, and nobody else writes the
/// task's rows.
#[inline(always)]
pub(crate) unsafe fn attend<S: Exponential, const ROWS: usize>(job: &Job<'_>, task: &Task) {
    // SAFETY: as the caller vouches.
    unsafe {
        match (job.k_cache, job.v_cache) {
            (CacheSlice::F32(k), CacheSlice::F32(v)) => {
                attend_over::<S, f32, ROWS>(job, task, (k, v))
            }
            (CacheSlice::F16(k), CacheSlice::F16(v)) => {
                attend_over::<S, f16, ROWS>(job, task, (k, v))
            }
            _ => {}
        }
    }
}

#[inline(always)]
unsafe fn attend_over<S: Exponential, C: CacheNumber, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    cache: (&[C], &[C]),
) {
    let span = &job.spans[task.span];
    let dim = job.shape.head_dim;
    let views = task.rows.clone().map(|row| job.visible(span, row));
    let seen: Vec<_> = views.flat_map(|view| std::iter::repeat_n(view, job.group)).collect();
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        return;
    };
    let all = first.start..last.end;
    let rows = seen.len();
    let width = dim.next_multiple_of(S::LANES);
    let mut scratch = Scratch::take(rows * (dim + width + 2) + TILE * (dim + width));
    // Whole vectors first: they begin at cache lines.
    let (tile, scratch) = scratch.numbers().split_at_mut(TILE * (dim + width));
    let (values, scratch) = scratch.split_at_mut(rows * width);
    let (q, scratch) = scratch.split_at_mut(rows * dim);
    let (largest, total) = scratch.split_at_mut(rows);
    read_queries(job, task, q);
    values.fill(0.0);
    largest.fill(f32::MIN);
    total.fill(0.0);
    let mut running = Running { seen: &seen, q, values, width, largest, total };
    let mut tile = Tile::new(tile, dim, width);
    for start in (all.start / TILE * TILE..all.end).step_by(TILE) {
        let keys = start.max(all.start)..all.end.min(start + TILE);
        // SAFETY: `check::fits` has seen that these positions have blocks of the cache.
        unsafe {
            tile.read::<S, C>(job, cache, (span, task.kv_head), (start, keys));
            add_tile::<S, ROWS>(&job.shape, (start, &tile), &mut running);
        }
    }
    write_out(job, task, &running);
}

/// Where in `q` and `out` the heads of a task's query row lie: `group` of them.
#[inline(always)]
fn heads_of(job: &Job<'_>, task: &Task, row: usize) -> Range<usize> {
    let token = job.spans[task.span].query_start + row;
    let first = (token * job.shape.heads + task.kv_head * job.group) * job.shape.head_dim;
    first..first + job.group * job.shape.head_dim
}

/// A task's queries one after the other, times the scale.
#[inline(always)]
fn read_queries(job: &Job<'_>, task: &Task, out: &mut [f32]) {
    let rows = out.chunks_exact_mut(job.group * job.shape.head_dim);
    for (row, out) in task.rows.clone().zip(rows) {
        for (out, q) in out.iter_mut().zip(&job.q[heads_of(job, task, row)]) {
            *out = q * job.shape.scale;
        }
    }
}

/// Divides by the sums of weights.
#[inline(always)]
fn write_out(job: &Job<'_>, task: &Task, running: &Running<'_>) {
    let dim = job.shape.head_dim;
    let rows = running.values.chunks_exact(job.group * running.width);
    for ((row, values), total) in
        task.rows.clone().zip(rows).zip(running.total.chunks_exact(job.group))
    {
        let heads = heads_of(job, task, row);
        // SAFETY: the task's own row and heads, within the checked size.
        let out = unsafe { job.out.place(heads.start, heads.len()) };
        for (head, (values, total)) in values.chunks_exact(running.width).zip(total).enumerate() {
            let inverse = if *total == 0.0 { 0.0 } else { 1.0 / total };
            for (d, value) in values.iter().enumerate().take(dim) {
                // SAFETY: as above.
                unsafe { out.add(head * dim + d).write(value * inverse) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
