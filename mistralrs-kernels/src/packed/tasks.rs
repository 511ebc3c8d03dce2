//! How products are cut into tasks for threads: by rows of activations where these are many, and by tiles
//! of weights. Knows no format.

use super::activations::{Rounded, Strips};
use super::{Job, TileKernels};
use crate::pool;
use std::ops::Range;

/// Below so many multiplications, waking threads costs more than they save.
pub(super) const SERIAL: usize = 512 << 10;
/// Tiles of a task come in such a number, for up to three of them are multiplied together.
pub(super) const TOGETHER: usize = 6;
/// The most tasks that the last rows of activations are cut into, for each thread.
const TASKS: usize = 16;
/// Rows of activations of a task at least, where there are as many: they share what it costs to prepare weights.
const TASK_ROWS: usize = 384;

/// Cuts products with these numbers of tiles, for each of some groups of rows, into tasks: group, product and
/// tiles. Shorter and shorter ones, so that threads end together though one may be held up.
pub(super) fn cut(tiles: &[Range<usize>], groups: usize) -> Vec<(usize, usize, Range<usize>)> {
    let threads = pool::threads();
    let each: usize = tiles.iter().map(Range::len).sum();
    let least = each.div_ceil(TASKS * threads);
    let mut left = groups * each;
    let mut tasks = Vec::new();
    for group in 0..groups {
        for (at, tiles) in tiles.iter().enumerate() {
            let mut start = tiles.start;
            while start < tiles.end {
                let len = left.div_ceil(2 * threads).max(least).next_multiple_of(TOGETHER);
                let end = tiles.end.min(start + len);
                tasks.push((group, at, start..end));
                left -= end - start;
                start = end;
            }
        }
    }
    tasks
}

/// Computes all jobs, in runs of tiles that follow each other in memory.
pub(super) fn run<X: Rounded>(kernels: TileKernels<X>, jobs: &[Job<'_, X>], strips: Strips) {
    let multiply = |job: &Job<'_, X>, tiles: Range<usize>| {
        // SAFETY: the kernels' instruction set is present, `multiply_on` checked the sizes, and each
        // task writes the columns of `y` that belong to its own tiles, in rows of its own.
        unsafe { (kernels.multiply)(job, tiles) }
    };
    let (work, m) =
        (jobs.iter().map(|job| job.part.len * job.part.w.cols).sum::<usize>(), strips.total());
    if work.saturating_mul(m) < SERIAL || pool::threads() == 1 {
        return jobs.iter().for_each(|job| multiply(job, job.part.tiles()));
    }
    let tiles: Vec<_> = jobs.iter().map(|job| job.part.tiles()).collect();
    let group = strips.count().div_ceil((m / TASK_ROWS).max(1));
    let tasks = cut(&tiles, strips.count().div_ceil(group));
    pool::in_parallel(tasks.len(), |at| {
        let (number, job, tiles) = &tasks[at];
        multiply(&jobs[*job].with(strips.part(number * group, group)), tiles.clone());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn every_tile_of_every_group_is_in_one_task() {
        for threads in [1, 2, 3, 8] {
            for tiles in
                [vec![0..1, 3..4], vec![0..80, 5..6], vec![0..56, 0..8, 0..8], vec![7..9, 0..1000]]
            {
                for groups in [1, 2, 7] {
                    let cut = || cut(&tiles, groups);
                    let tasks = pool::with_threads(NonZeroUsize::new(threads).unwrap(), cut);
                    let mut all = Vec::new();
                    for (group, at, run) in tasks {
                        let first = run.start - tiles[at].start;
                        assert!(!run.is_empty() && first.is_multiple_of(TOGETHER), "{run:?}");
                        all.extend(run.map(|tile| (group, at, tile)));
                    }
                    let expected = (0..groups).flat_map(|group| {
                        let of = |(at, tiles): (usize, &Range<usize>)| {
                            tiles.clone().map(move |tile| (group, at, tile)).collect::<Vec<_>>()
                        };
                        tiles.iter().enumerate().flat_map(of).collect::<Vec<_>>()
                    });
                    assert!(all.into_iter().eq(expected), "{tiles:?} in {groups}");
                }
            }
        }
    }

    /// The last tasks are short: who is held up in one holds up the others little.
    #[test]
    fn tasks_become_shorter() {
        let two = NonZeroUsize::new(2).unwrap();
        let tasks = pool::with_threads(two, || cut(std::slice::from_ref(&(0..600)), 1));
        let lens: Vec<_> = tasks.iter().map(|(_, _, tiles)| tiles.len()).collect();
        assert!(lens.is_sorted_by(|a, b| a >= b), "{lens:?}");
        assert!(lens[0] >= 150 && lens[lens.len() - 1] <= 24, "{lens:?}");
    }
}
