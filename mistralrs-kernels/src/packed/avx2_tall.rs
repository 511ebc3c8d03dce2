//! Products with many rows of activations for vectors of 256 bits: a tile of weights is spread out into
//! bytes, 256 columns at a time, once for all rows that stay in the cache. Then both halves of the tile are
//! multiplied with three rows at a time: six products and their sums, two vectors of weights and one of
//! activations are what the 16 registers hold. How weights lie is a [`Strip`]'s matter: `avx2_strip` and
//! `avx2_chunk` have one. The sums run as those of few rows, so the bits are the same.

use super::Job;
use super::activations::Rounded;
use super::ahead::Ahead;
use super::avx2::{LANES, store};
use super::avx2_block::Sums;
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::x86_64::_mm256_setzero_ps;
use std::ops::Range;

/// From so many rows of activations on, this way is the faster one.
pub(super) const LEAST: usize = 5;
/// Rows of a strip at most; from [`LEAST`] rows on, strips have at least two.
pub(super) const STRIP: usize = 3;
/// Halves of a tile.
pub(super) const HALVES: usize = TILE_ROWS / LANES;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 768 << 10;

/// The sums of a strip.
pub(super) type StripSums = Sums<STRIP, HALVES>;

/// What is multiplied at a time: a panel with the same columns of a strip.
pub(super) struct Part<'a, S: Strip> {
    pub(super) panel: &'a S::Panel,
    /// A unit of activations for each row, and that for each unit of the panel.
    pub(super) x: *const S::X,
    /// Units of activations in a row of it: blocks, or one chunk.
    pub(super) units: usize,
}

/// How a strip is multiplied.
pub(super) trait Strip: Sized {
    /// How weights are packed.
    const LAYOUT: &'static Layout;
    /// Whether AVX-VNNI multiplies.
    const VNNI: bool;
    /// How activations are rounded.
    type X: Rounded;
    /// Up to 256 columns of a tile, spread out.
    type Panel;

    /// A panel of nothing.
    fn empty() -> Self::Panel;

    /// Spreads out some chunks of a tile.
    ///
    /// # Safety
    /// The features are present.
    unsafe fn spread(job: &Job<'_, Self::X>, chunks: &[u8], panel: &mut Self::Panel);

    /// Adds the products of a panel with a strip of `M` rows to the sums.
    ///
    /// # Safety
    /// The features are present, and the rows are there for each unit of the panel.
    unsafe fn multiply<const M: usize>(part: &Part<'_, Self>, sums: &mut StripSums);
}

/// Multiplies a panel with a strip of so many rows: a function of its own, whose registers are nobody else's.
macro_rules! strips {
    ($name:ident, $features:literal) => {
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn $name<S: Strip>(part: &Part<'_, S>, rows: usize, sums: &mut StripSums) {
            // SAFETY: as the caller vouches.
            unsafe {
                match rows {
                    2 => S::multiply::<2>(part, sums),
                    _ => S::multiply::<STRIP>(part, sums),
                }
            }
        }
    };
}

strips!(multiply_vnni, "avx2,fma,f16c,avxvnni");
strips!(multiply_plain, "avx2,fma,f16c");

/// # Safety
/// The features are present, there are [`LEAST`] rows; nobody else writes the columns of `y` that
/// belong to `tiles`.
#[inline(always)]
pub(super) unsafe fn multiply<S: Strip>(job: &Job<'_, S::X>, tiles: Range<usize>) {
    let count = job.strips.count();
    let longest = job.strips.rows(0).len() * (job.part.w.cols / S::X::COLS) * size_of::<S::X>();
    let group = (RESIDENT / longest).max(1);
    // SAFETY: the features are present where this is inlined.
    let none = unsafe { _mm256_setzero_ps() };
    let (mut panel, mut sums) = (S::empty(), vec![[[none; HALVES]; STRIP]; group.min(count)]);
    for first in (0..count).step_by(group) {
        for tile in tiles.clone() {
            let strips = first..count.min(first + group);
            sums.fill([[none; HALVES]; STRIP]);
            // SAFETY: the strips and the tile exist.
            unsafe { multiply_tile::<S>(job, tile, strips, &mut panel, &mut sums) };
        }
    }
}

/// A tile of weights with some strips.
#[inline(always)]
unsafe fn multiply_tile<S: Strip>(
    job: &Job<'_, S::X>,
    tile: usize,
    strips: Range<usize>,
    panel: &mut S::Panel,
    sums: &mut [StripSums],
) {
    let cols = job.part.w.cols;
    for from in (0..cols).step_by(CHUNK_COLS) {
        let here = CHUNK_COLS.min(cols - from);
        let is_last = from + here == cols;
        let chunks = &job.tile(tile)[bytes(S::LAYOUT, from)..][..bytes(S::LAYOUT, here)];
        // SAFETY: as the caller vouches.
        unsafe { S::spread(job, chunks, panel) };
        let mut ahead = next::<S>(job, tile, from, strips.len());
        for (strip, sums) in strips.clone().zip(sums.iter_mut()) {
            let rows = job.strips.rows(strip);
            if is_last {
                fetch_results(job, tile, rows.clone());
            }
            let units = here / S::X::COLS;
            let first = rows.start * (cols / S::X::COLS) + from / S::X::COLS * rows.len();
            let x = job.x[first..first + units * rows.len()].as_ptr();
            ahead.fetch();
            // SAFETY: `x` has as many rows as the strip for each unit; the rows and the tile are this
            // task's own.
            unsafe {
                let part = Part { panel: &*panel, x, units };
                match S::VNNI {
                    true => multiply_vnni::<S>(&part, rows.len(), sums),
                    false => multiply_plain::<S>(&part, rows.len(), sums),
                }
                if is_last {
                    for (row, [low, high]) in rows.zip(sums) {
                        store(job, row, (tile, 0), *low);
                        store(job, row, (tile, LANES), *high);
                    }
                }
            }
        }
    }
}

/// The bytes of some columns of a tile, in whole chunks.
fn bytes(layout: &Layout, cols: usize) -> usize {
    cols / BLOCK_COLS / layout.chunk_blocks() * layout.chunk_bytes()
}

/// What will be spread out next, of a tile whose columns from `from` on are at work: those that follow or, after
/// the last ones, the first of the tile after it. Fetched within `steps` calls.
#[inline(always)]
fn next<S: Strip>(job: &Job<'_, S::X>, tile: usize, from: usize, steps: usize) -> Ahead {
    let (tile, cols) = (job.tile(tile), job.part.w.cols);
    let next = from + CHUNK_COLS;
    let (start, count) = match cols.checked_sub(next) {
        Some(rest) if rest > 0 => (bytes(S::LAYOUT, next), rest),
        _ => (tile.len(), cols),
    };
    let count = bytes(S::LAYOUT, count.min(CHUNK_COLS));
    Ahead::new(tile.as_ptr().wrapping_add(start), count, steps)
}

/// Has the places of results fetched: without, storing them waits for memory.
#[inline(always)]
fn fetch_results<X>(job: &Job<'_, X>, tile: usize, rows: Range<usize>) {
    for row in rows {
        // SAFETY: the tile's first column is there.
        prefetch(unsafe { job.place(row, tile * TILE_ROWS, 1) }.cast());
    }
}
