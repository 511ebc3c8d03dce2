//! Attention over a paged key/value cache, for any mix of prompts and single tokens.
//!
//! The sum over keys runs in tiles of [`TILE`] positions that begin at multiples of `TILE` in the
//! sequence, with a running maximum; within a tile and from tile to tile the order is that of the
//! positions. Each stretch of [`SPLIT`] positions has sums of its own, which are joined in the order of the
//! positions, too: so threads can share a long context, and a query's result is the same bits however its
//! sequence was cut, batched or shared out.
//! Encoders use the same kernel with the other [`Sight`].
//! Source: online softmax, Milakov and Gimelshein 2018 (arXiv 1805.02867).

mod cache;
mod check;
mod direct;
mod plan;
mod quantized;
mod running;
mod score;
mod store;
mod sums;
mod tile;

use crate::dispatch::{self, Kernels};
use crate::pool;
use crate::shared::{Scratch, SharedSlice};
use crate::simd::Exponential;
use cache::CacheNumber;
pub use cache::CacheSlice;
use direct::Direct;
use half::f16;
use plan::Step;
pub(crate) use plan::Task;
pub(crate) use quantized::round_heads;
pub use quantized::{q8_head_bytes, round_to_q8};
use running::{MOST_ROWS, Running, add_tile};
use std::ops::Range;
pub use store::{CacheShape, CacheSliceMut, store_keys, store_values};
use sums::Sums;
use tile::{Tile, widest};

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
/// Positions whose sums are kept apart from those of others: whole tiles.
const SPLIT: usize = 8 * TILE;
/// Below so many multiplications, waking threads costs more than they save.
const SERIAL: usize = 64 << 10;

/// Attends from every query to the positions of its sequence that it may see: its own and those
/// before it, within the window, and those of its group.
///
/// `q` and the result are `[tokens, heads, head_dim]`, both caches are of one kind; without `v_cache` the keys are
/// the values, too. A row of the result
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
    v_cache: Option<CacheSlice<'_>>,
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
    v_cache: Option<CacheSlice<'_>>,
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
    /// The keys' once more where they are the values.
    v_cache: CacheSlice<'a>,
    values_are_keys: bool,
    spans: &'a [AttentionSpan<'a>],
    out: SharedSlice<'a>,
    /// Sums of stretches that wait to be joined.
    waiting: SharedSlice<'a>,
}

pub(crate) fn attend_on(
    kernels: &Kernels,
    (shape, sight): (&AttentionShape, Sight),
    q: &[f32],
    (k_cache, values): (CacheSlice<'_>, Option<CacheSlice<'_>>),
    spans: &[AttentionSpan<'_>],
) -> Vec<f32> {
    let v_cache = values.unwrap_or(k_cache);
    let blocks = k_cache.blocks(shape);
    assert_eq!(blocks, v_cache.blocks(shape), "the caches' sizes differ");
    assert_eq!(
        std::mem::discriminant(&k_cache),
        std::mem::discriminant(&v_cache),
        "the caches' kinds differ"
    );
    check::fits(shape, q.len(), blocks, spans);
    let mut out = Vec::with_capacity(q.len());
    let rows: usize = spans.iter().map(|span| span.query_len).sum();
    if rows * shape.heads * shape.head_dim < q.len() {
        out.resize(q.len(), 0.0);
        out.clear();
    }
    if q.is_empty() {
        return out;
    }
    let mut job = Job {
        shape: *shape,
        sight,
        group: shape.heads / shape.kv_heads,
        q,
        k_cache,
        v_cache,
        values_are_keys: values.is_none(),
        spans,
        out: SharedSlice::unwritten(&mut out.spare_capacity_mut()[..q.len()]),
        waiting: SharedSlice::new(&mut []),
    };
    let mut plan = plan::plan(&job);
    let mut waiting = vec![0.0; plan.memory];
    job.waiting = SharedSlice::new(&mut waiting);
    let run = |task: &Task| {
        // SAFETY: the kernels' instruction set is present, `check::fits` vouches for the sizes, no two tasks
        // share a row, head and stretch, and what a task joins was left before.
        unsafe { (kernels.attend)(&job, task) }
    };
    let work: usize = plan.tasks.iter().map(|(cost, _)| cost).sum();
    if work < SERIAL || plan.tasks.len() == 1 {
        plan.tasks.iter().for_each(|(_, task)| run(task));
    } else {
        // The dearest first, so that no thread begins a long one when the others are done.
        plan.tasks.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        pool::in_parallel(plan.tasks.len(), |at| run(&plan.tasks[at].1));
    }
    plan.joins.iter().for_each(run);
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

/// Computes one task's rows of the output. `ROWS` is how many of them a register tile takes.
///
/// # Safety
/// The instruction set is present, the job's sizes were checked, and nobody else writes the
/// task's rows.
#[inline(always)]
pub(crate) unsafe fn attend<S: Exponential, const ROWS: usize>(job: &Job<'_>, task: &Task) {
    // SAFETY: as the caller vouches.
    unsafe {
        if let Step::Join(first) = task.step {
            return join_stretches::<S>(job, task, first);
        }
        match (job.k_cache, job.v_cache) {
            (CacheSlice::F32(k), CacheSlice::F32(v)) => {
                attend_over::<S, f32, ROWS>(job, task, (k, v))
            }
            (CacheSlice::F16(k), CacheSlice::F16(v)) => {
                attend_over::<S, f16, ROWS>(job, task, (k, v))
            }
            (CacheSlice::Q8(k), CacheSlice::Q8(v)) => attend_over::<S, u8, ROWS>(job, task, (k, v)),
            _ => {}
        }
    }
}

/// Joins the sums that others left, those of each stretch from number `first` of the job's memory on.
#[inline(always)]
unsafe fn join_stretches<S: Exponential>(job: &Job<'_>, task: &Task, first: usize) {
    let (rows, width) = (task.rows.len() * job.group, widest(job.shape.head_dim));
    let size = Sums::size(rows, width);
    let mut scratch = Scratch::take(size);
    let mut sums = Sums::of(scratch.numbers(), rows, width);
    sums.clear();
    for number in 0..task.stretches.len() {
        // SAFETY: the instruction set is present; the plan has a place for the sums of each stretch, and those who
        // wrote them are done.
        unsafe {
            let memory = job.waiting.part(first + number * size, size);
            sums.join::<S>(&Sums::of(memory, rows, width));
        }
    }
    write_out(job, task, &sums);
}

/// Adds up what the task's rows see, all of it or stretch by stretch.
#[inline(always)]
unsafe fn attend_over<S: Exponential, C: CacheNumber, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    cache: (&[C], &[C]),
) {
    let span = &job.spans[task.span];
    let dim = job.shape.head_dim;
    let mut seen = Vec::with_capacity(task.rows.len() * job.group);
    for row in task.rows.clone() {
        let view = job.visible(span, row);
        seen.resize(seen.len() + job.group, view);
    }
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        return;
    };
    let all = first.start..last.end;
    let (rows, width) = (seen.len(), widest(dim));
    let size = Sums::size(rows, width);
    let mut scratch = Scratch::take(TILE * (dim + width) + 2 * size + rows * dim);
    // Whole vectors first: they begin at cache lines.
    let (tile, scratch) = scratch.numbers().split_at_mut(TILE * (dim + width));
    let (sums, scratch) = scratch.split_at_mut(size);
    let (of_stretch, q) = scratch.split_at_mut(size);
    let mut sums = Sums::of(sums, rows, width);
    sums.clear();
    read_queries(job, task, q);
    let mut tile = Tile::new(tile, dim, width);
    for (number, stretch) in task.stretches.clone().enumerate() {
        let memory = match task.step {
            // SAFETY: the plan has a place for the sums of each stretch, and it is this task's own.
            Step::Add(first) => unsafe { job.waiting.part(first + number * size, size) },
            _ => &mut *of_stretch,
        };
        let mut running = Running { seen: &seen, q, sums: Sums::of(memory, rows, width) };
        let stretch = stretch * SPLIT..(stretch + 1) * SPLIT;
        let positions = all.start.max(stretch.start)..all.end.min(stretch.end);
        // SAFETY: as the caller vouches; the positions are within the task's, the sums are of its rows.
        unsafe {
            let positions = (positions, all.end.min(task.stretches.end * SPLIT));
            add_positions::<S, C, ROWS>(job, task, cache, positions, (&mut tile, &mut running));
            if matches!(task.step, Step::Whole) {
                sums.join::<S>(&running.sums);
            }
        }
    }
    if matches!(task.step, Step::Whole) {
        write_out(job, task, &sums);
    }
}

/// The sums over some positions. What follows them, up to position `end`, will be wanted next.
#[inline(always)]
unsafe fn add_positions<S: Exponential, C: CacheNumber, const ROWS: usize>(
    job: &Job<'_>,
    task: &Task,
    cache: (&[C], &[C]),
    (positions, end): (Range<usize>, usize),
    (tile, running): (&mut Tile<'_>, &mut Running<'_>),
) {
    running.sums.clear();
    let head = (&job.spans[task.span], task.kv_head);
    let few = running.seen.len() <= 2 * MOST_ROWS;
    let in_place = few && !job.values_are_keys && Direct::<C>::fits(&job.shape, S::LANES);
    for start in (positions.start / TILE * TILE..positions.end).step_by(TILE) {
        let keys = start.max(positions.start)..positions.end.min(start + TILE);
        // SAFETY: `check::fits` has seen that these positions have blocks of the cache.
        unsafe {
            // Fewer registers have no room for so many rows.
            if const { C::IN_PLACE && ROWS >= 6 } && in_place {
                let next = start + TILE..end.min(start + 2 * TILE);
                let tile = Direct::<C>::new::<S>(job, cache, head, (start, keys, next));
                add_tile::<S, Direct<C>, MOST_ROWS>(&job.shape, (start, &tile), running);
                continue;
            }
            tile.read::<S, C>(job, cache, head, (start, keys));
            add_tile::<S, Tile<'_>, ROWS>(&job.shape, (start, tile), running);
        }
    }
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
fn write_out(job: &Job<'_>, task: &Task, sums: &Sums<'_>) {
    let dim = job.shape.head_dim;
    let rows = sums.values.chunks_exact(job.group * sums.width);
    let rows = task.rows.clone().zip(rows).zip(sums.total.chunks_exact(job.group));
    for ((row, values), total) in rows {
        let heads = heads_of(job, task, row);
        // SAFETY: the task's own row and heads, within the checked size.
        let out = unsafe { job.out.place(heads.start, heads.len()) };
        for (head, (values, total)) in values.chunks_exact(sums.width).zip(total).enumerate() {
            let inverse = if *total == 0.0 { 0.0 } else { 1.0 / total };
            for (d, value) in values[..dim].iter().enumerate() {
                // SAFETY: as above.
                unsafe { out.add(head * dim + d).write(value * inverse) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
