//! Where a tile's keys and values lie in the paged cache, and the products of queries and keys.

use super::{AttentionSpan, Job, TILE, Task, first_number};
use crate::simd::Simd;
use crate::tile::accumulate;
use std::ops::Range;

/// Where a tile's keys and values lie.
pub(super) struct Places {
    /// The keys' offsets within the tile.
    pub(super) keys: Range<usize>,
    /// Index of each key's first number in the caches.
    pub(super) offsets: [usize; TILE],
}

impl Places {
    #[inline(always)]
    pub(super) fn of(
        job: &Job<'_>,
        span: &AttentionSpan<'_>,
        kv_head: usize,
        tile: usize,
        keys: &Range<usize>,
    ) -> Self {
        let shape = &job.shape;
        let mut offsets = [0; TILE];
        for position in keys.clone() {
            let block = span.block_table[position / shape.block_size] as usize;
            let slot = block * shape.block_size + position % shape.block_size;
            offsets[position - tile] = (slot * shape.kv_heads + kv_head) * shape.head_dim;
        }
        Self { keys: keys.start - tile..keys.end - tile, offsets }
    }
}

/// Products of all of a task's rows with all keys of a tile.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, const WIDE: usize>(
    job: &Job<'_>,
    task: &Task,
    places: &Places,
    scores: &mut [f32],
) {
    let rows = task.rows.len() * job.group;
    let mut row = 0;
    // SAFETY: the tiles cover the task's rows, no more.
    unsafe {
        while row + 4 <= rows {
            score_rows::<S, 4, WIDE>(job, task, places, row, scores);
            row += 4;
        }
        while row < rows {
            score_rows::<S, 1, WIDE>(job, task, places, row, scores);
            row += 1;
        }
    }
}

/// Products of `R` rows with all keys of a tile.
#[inline(always)]
unsafe fn score_rows<S: Simd, const R: usize, const WIDE: usize>(
    job: &Job<'_>,
    task: &Task,
    places: &Places,
    row: usize,
    scores: &mut [f32],
) {
    let mut key = places.keys.start;
    // SAFETY: the tiles cover the keys, no more.
    unsafe {
        while key + WIDE <= places.keys.end {
            score_tile::<S, R, WIDE>(job, task, places, (row, key), scores);
            key += WIDE;
        }
        while key < places.keys.end {
            score_tile::<S, R, 1>(job, task, places, (row, key), scores);
            key += 1;
        }
    }
}

#[inline(always)]
unsafe fn score_tile<S: Simd, const R: usize, const C: usize>(
    job: &Job<'_>,
    task: &Task,
    places: &Places,
    (row, key): (usize, usize),
    scores: &mut [f32],
) {
    let dim = job.shape.head_dim;
    // SAFETY: the rows are the task's and the keys the tile's, all within `q` and the cache.
    unsafe {
        let a = std::array::from_fn(|r| job.q.as_ptr().add(first_number(job, task, row + r)));
        let b = std::array::from_fn(|c| job.k_cache.as_ptr().add(places.offsets[key + c]));
        let mut sums = [[S::splat(0.0); C]; R];
        accumulate::<S, R, C>(a, b, dim, &mut sums);
        for (r, row_sums) in sums.iter().enumerate() {
            for (c, sum) in row_sums.iter().enumerate() {
                scores[(row + r) * TILE + key + c] = S::sum(*sum);
            }
        }
    }
}
