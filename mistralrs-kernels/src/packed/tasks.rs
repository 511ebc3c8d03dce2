//! How products are cut into tasks for threads: by rows of activations where these are many, and by tiles
//! of weights. Knows no format.

use super::activations::{Rounded, Strips};
use super::{Job, PackedPart, TileKernels};
use crate::pool::{self, Expected};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

/// Below so many multiplications, waking threads costs more than they save.
pub(super) const SERIAL: usize = 512 << 10;
/// Tiles of a task come in such a number, for up to three of them are multiplied together,
const TOGETHER: usize = 6;
/// or with a single strip up to two.
const TOGETHER_ALONE: usize = 2;
/// The most tasks that the last rows of activations are cut into, for each thread.
const TASKS: usize = 16;
/// With a single strip, which a task does nothing to prepare for.
const TASKS_ALONE: usize = 24;
/// Weights whose successors are remembered, at most: more than most models have.
const REMEMBERED: usize = 16 << 10;
/// Rows of activations of a task at least, where there are as many: they share what it costs to prepare weights.
const TASK_ROWS: usize = 384;

/// How many tiles those of a task are a multiple of.
pub(super) fn together(strips: Strips) -> usize {
    if strips.count() == 1 { TOGETHER_ALONE } else { TOGETHER }
}

/// Cuts products with these numbers of tiles, for each of some groups of rows, into tasks: group, product and
/// tiles. Shorter and shorter ones, so that threads end together though one may be held up.
fn cut(tiles: &[Range<usize>], groups: usize, strips: Strips) -> Vec<(usize, usize, Range<usize>)> {
    cut_by(tiles, groups, strips, together(strips))
}

/// The same with tiles in multiples of `together`.
pub(super) fn cut_by(
    tiles: &[Range<usize>],
    groups: usize,
    strips: Strips,
    together: usize,
) -> Vec<(usize, usize, Range<usize>)> {
    let threads = pool::threads();
    let each: usize = tiles.iter().map(Range::len).sum();
    let tasks = if strips.count() == 1 { TASKS_ALONE } else { TASKS };
    let least = each.div_ceil(tasks * threads);
    let mut left = groups * each;
    let mut tasks = Vec::new();
    for group in 0..groups {
        for (at, tiles) in tiles.iter().enumerate() {
            let mut start = tiles.start;
            while start < tiles.end {
                let len = left.div_ceil(2 * threads).max(least).next_multiple_of(together);
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
    let tasks = cut(&tiles, strips.count().div_ceil(group), strips);
    let next = expected_after(&jobs[0].part, tasks[0].2.len(), strips);
    pool::in_parallel_before(next, tasks.len(), |at| {
        let (number, job, tiles) = &tasks[at];
        multiply(&jobs[*job].with(strips.part(number * group, group)), tiles.clone());
    });
}

thread_local! {
    static ORDER: RefCell<Order> = RefCell::default();
}

/// Which weights follow which: those that did the last time. A step of a model goes through all of them in one order.
#[derive(Default)]
struct Order {
    last: Option<*const u8>,
    next: HashMap<*const u8, Expected>,
}

impl Order {
    /// Takes note that these are read now, and tells what is likely to follow.
    fn follow(&mut self, now: Expected) -> Option<Expected> {
        if self.next.len() >= REMEMBERED {
            self.next.clear();
        }
        if let Some(before) = self.last.replace(now.start) {
            self.next.insert(before, now);
        }
        self.next.get(&now.start).copied()
    }
}

/// What will be read after the weights that begin with `part`, of whose tiles the first task has `tiles`. A single
/// strip of rows waits for memory; several have work enough.
pub(super) fn expected_after(
    part: &PackedPart<'_>,
    tiles: usize,
    strips: Strips,
) -> Option<Expected> {
    let first = part.w.tile(part.first_tile + part.tiles().start);
    let now = Expected { start: first.as_ptr(), turn: tiles * first.len() };
    if strips.count() > 1 { None } else { ORDER.with_borrow_mut(|order| order.follow(now)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn with<T>(threads: usize, work: impl FnOnce() -> T) -> T {
        pool::with_threads(NonZeroUsize::new(threads).unwrap(), work)
    }

    #[test]
    fn every_tile_of_every_group_is_in_one_task() {
        let lists =
            [vec![0..1, 3..4], vec![0..80, 5..6], vec![0..56, 0..8, 0..8], vec![7..9, 0..1000]];
        for (threads, rows, tiles) in [1, 2, 3, 8]
            .into_iter()
            .flat_map(|threads| [1, 100].map(|rows| (threads, rows)))
            .flat_map(|(threads, rows)| lists.clone().map(|tiles| (threads, rows, tiles)))
        {
            let strips = Strips::new(rows);
            for groups in [1, 2, 7] {
                let mut all = Vec::new();
                for (group, at, run) in with(threads, || cut(&tiles, groups, strips)) {
                    let first = run.start - tiles[at].start;
                    assert!(!run.is_empty() && first.is_multiple_of(together(strips)), "{run:?}");
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

    /// The last tasks are short: who is held up in one holds up the others little.
    #[test]
    fn tasks_become_shorter() {
        for (rows, longest) in [(100, 24), (1, 14)] {
            let tasks = with(2, || cut(std::slice::from_ref(&(0..600)), 1, Strips::new(rows)));
            let lens: Vec<_> = tasks.iter().map(|(_, _, tiles)| tiles.len()).collect();
            assert!(lens.is_sorted_by(|a, b| a >= b), "{lens:?}");
            assert!(lens[0] >= 150 && lens[lens.len() - 1] <= longest, "{lens:?}");
        }
    }

    /// From the second round on, each is told what followed it in the first; who comes from elsewhere as well.
    #[test]
    fn what_followed_is_expected() {
        let weights = [0u8; 6];
        let at = |number: usize| Expected { start: &raw const weights[number], turn: 100 + number };
        let mut order = Order::default();
        let mut follow =
            |number: usize| order.follow(at(number)).map(|Expected { start, turn }| (start, turn));
        let told = |number: usize| Some((at(number).start, at(number).turn));
        for number in [0, 1, 2] {
            assert_eq!(follow(number), None);
        }
        for _ in 0..2 {
            assert_eq!((follow(0), follow(1)), (told(1), told(2)));
            assert_eq!(follow(2), told(0));
        }
        assert_eq!((follow(5), follow(1)), (None, told(2)));
        assert_eq!(follow(5), told(1));
    }
}
