//! Products with many rows of activations for AVX-512: two tiles of weights are spread out into bytes, 256
//! columns at a time, once for some hundred rows. How they lie then, and how they are multiplied with a strip of
//! rows and added up, is a [`Strip`]'s matter: `avx512_strip`, `avx512_chunk_strip`, `amx` and `amx_chunk` have one.
//! The sums run as those of few rows, so the bits are the same.

use super::Job;
use super::activations::Rounded;
use super::ahead::Ahead;
use super::avx512_vnni::{store, vnni};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::x86_64::{__m512, _mm512_setzero_ps};
use std::ops::Range;

/// Tiles that are multiplied together.
pub(super) const PAIR: usize = 2;
/// Strips at most that one spreading serves.
const STRIPS: usize = 74;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 3 << 19;

/// The sums of a row.
pub(super) type Sums = [__m512; PAIR];

/// What is multiplied at a time: a panel with the same columns of a strip.
pub(super) struct Part<'a, S: Strip> {
    pub(super) panel: &'a S::Panel,
    /// A unit of activations for each row, and that for each unit of the panel.
    pub(super) x: *const S::X,
    /// Units of activations in a row of it: blocks, or one chunk.
    pub(super) units: usize,
    /// Where those of the strip are that this panel is multiplied with next.
    pub(super) next: Option<*const S::X>,
}

/// What a pair of tiles is worked on in.
struct Room<S: Strip> {
    panel: S::Panel,
    /// Of each row of the strips that one spreading serves.
    sums: Vec<Sums>,
    state: S::State,
}

/// How a strip is multiplied.
pub(super) trait Strip: Sized {
    /// How weights are packed.
    const LAYOUT: &'static Layout;
    /// How activations are rounded.
    type X: Rounded;
    /// Up to 256 columns of both tiles, spread out.
    type Panel;
    /// What stays from one strip to the next.
    type State;

    /// What a task begins with.
    fn begin() -> (Self::Panel, Self::State);

    /// Spreads out the tile at `tile` of some chunks, as tile `n` of the panel.
    ///
    /// # Safety
    /// The instruction set is present.
    unsafe fn spread(job: &Job<'_, Self::X>, chunks: &[u8], n: usize, panel: &mut Self::Panel);

    /// Adds the products of a panel with a strip to the sums, one for each row.
    ///
    /// # Safety
    /// The instruction set is present, and the rows are there for each unit of the panel.
    unsafe fn multiply(part: Part<'_, Self>, sums: &mut [Sums], state: &mut Self::State);

    /// What it ends with.
    ///
    /// # Safety
    /// The instruction set is present.
    unsafe fn end() {}
}

/// The bytes of some columns of a tile, in whole chunks.
fn bytes(layout: &Layout, cols: usize) -> usize {
    cols / BLOCK_COLS / layout.chunk_blocks() * layout.chunk_bytes()
}

/// What will be spread out next, of a tile whose columns from `from` on are at work: those that follow or, after
/// the last ones, the first of the tile after the next, which is the next pair's. Fetched within `steps` calls.
fn next<S: Strip>(job: &Job<'_, S::X>, tile: usize, from: usize, steps: usize) -> Ahead {
    let (tile, cols) = (job.tile(tile), job.part.w.cols);
    let next = from + CHUNK_COLS;
    let (start, count) = match cols.checked_sub(next) {
        Some(rest) if rest > 0 => (bytes(S::LAYOUT, next), rest),
        _ => (PAIR * tile.len(), cols),
    };
    let count = bytes(S::LAYOUT, count.min(CHUNK_COLS));
    Ahead::new(tile.as_ptr().wrapping_add(start), count, steps)
}

vnni! {
    /// # Safety
    /// The features are present, and the strip's; strips have rows that it can multiply; nobody else writes the
    /// columns of `y` that belong to `tiles`.
    pub(super) unsafe fn multiply<S: Strip>(job: &Job<'_, S::X>, tiles: Range<usize>) {
        let count = job.strips.count();
        let rows = job.strips.rows(0).len();
        let longest = rows * (job.part.w.cols / S::X::COLS) * size_of::<S::X>();
        let group = (RESIDENT / longest).clamp(1, STRIPS);
        // Once for all pairs, and no more sums than strips: to fill it costs time where there are few rows.
        let (panel, state) = S::begin();
        let sums = vec![[_mm512_setzero_ps(); PAIR]; rows * group.min(count)];
        let mut room = Room::<S> { panel, sums, state };
        for first in (0..count).step_by(group) {
            for tile in tiles.clone().step_by(PAIR) {
                // At the end of an odd number of tiles, the last one stands for both.
                let pair = [tile, (tile + 1).min(tiles.end - 1)];
                // SAFETY: the strips and the tiles exist.
                unsafe { multiply_pair::<S>(job, pair, first..count.min(first + group), &mut room) };
            }
        }
        // SAFETY: as the caller vouches.
        unsafe { S::end() };
    }

    /// Two tiles of weights with some strips.
    unsafe fn multiply_pair<S: Strip>(
        job: &Job<'_, S::X>,
        pair: [usize; PAIR],
        strips: Range<usize>,
        room: &mut Room<S>,
    ) {
        let cols = job.part.w.cols;
        let Room { panel, sums, state } = room;
        for from in (0..cols).step_by(CHUNK_COLS) {
            let here = CHUNK_COLS.min(cols - from);
            let is_last = from + here == cols;
            for (n, tile) in pair.into_iter().enumerate() {
                let chunks = &job.tile(tile)[bytes(S::LAYOUT, from)..][..bytes(S::LAYOUT, here)];
                // SAFETY: as the caller vouches.
                unsafe { S::spread(job, chunks, n, panel) };
            }
            let mut ahead = pair.map(|tile| next::<S>(job, tile, from, strips.len()));
            let longest = job.strips.rows(0).len();
            let units = here / S::X::COLS;
            let rows_of = |strip: usize| {
                let rows = job.strips.rows(strip);
                let first = rows.start * (cols / S::X::COLS) + from / S::X::COLS * rows.len();
                job.x[first..first + units * rows.len()].as_ptr()
            };
            for (strip, sums) in strips.clone().zip(sums.chunks_exact_mut(longest)) {
                let rows = job.strips.rows(strip);
                let sums = &mut sums[..rows.len()];
                if is_last {
                    fetch_results(job, pair, rows.clone());
                }
                if from == 0 {
                    sums.fill([_mm512_setzero_ps(); PAIR]);
                }
                ahead.iter_mut().for_each(Ahead::fetch);
                let next = (strip + 1 < strips.end).then(|| rows_of(strip + 1));
                let part = Part { panel: &*panel, x: rows_of(strip), units, next };
                // SAFETY: each strip has its rows for each block; the rows and tiles are this task's own.
                unsafe {
                    S::multiply(part, sums, state);
                    if is_last {
                        for (row, sums) in rows.zip(sums) {
                            store(job, row, pair[0], sums[0]);
                            store(job, row, pair[1], sums[1]);
                        }
                    }
                }
            }
        }
    }

    /// Has the places of results fetched: without, storing them waits for memory.
    fn fetch_results<X>(job: &Job<'_, X>, pair: [usize; PAIR], rows: Range<usize>) {
        for row in rows {
            for tile in pair {
                // SAFETY: the tile's first column is there.
                prefetch(unsafe { job.place(row, tile * TILE_ROWS, 1) }.cast());
            }
        }
    }
}
