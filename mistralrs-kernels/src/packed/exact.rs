//! Floats in tiles, multiplied with activations as they are: 16-bit numbers are widened on their way into
//! a register, and every product is an `f32` one. Bfloat16, too, where there is no `vdpbf16ps` or it is
//! slow: measured on Emerald Rapids, it gives 85 GFLOP/s of a core where `f32` gives 173.
//!
//! A product adds its columns from the first to the last, with one rounding each; where it pauses, its sum
//! waits in the result, which is an `f32` like the register.

use super::activations::Strips;
use super::ahead::Ahead;
use super::floats::Floats;
use super::layout::{BLOCK_COLS, TILE_ROWS, VECTOR};
use super::{Job, TileKernels};
use crate::simd::{self, LoadHalves};
use std::ops::Range;

/// 32 numbers of a row of activations.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Columns(pub(crate) [f32; BLOCK_COLS]);

/// The slow, obvious twin.
pub(super) const TWIN: TileKernels<Columns> =
    TileKernels { strips: Strips::new, round: copy, multiply: multiply_slowly };

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 1 << 20;
/// So many bytes of two tiles of weights stay in the first-level cache while strips of activations pass by.
const CLOSE: usize = 24 << 10;
/// How far ahead of the arithmetic weights are fetched: what memory delivers within its latency.
const AHEAD: usize = 4096;

/// Lays the rows of one strip side by side: `x` is `[rows, cols]`. Always safe; `unsafe` only to fit the
/// table.
unsafe fn copy(x: &[f32], rows: usize, out: &mut [Columns]) {
    let cols = x.len() / rows.max(1);
    for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = out[i..].iter_mut().step_by(rows);
        for (x, out) in x.chunks(BLOCK_COLS).zip(out) {
            let (given, rest) = out.0.split_at_mut(x.len());
            given.copy_from_slice(x);
            rest.fill(0.0);
        }
    }
}

/// # Safety
/// Nobody else writes the columns of `y` that belong to `tiles`.
unsafe fn multiply_slowly(job: &Job<'_, Columns>, tiles: Range<usize>) {
    let w = job.w;
    let Some(floats) = w.layout.floats else {
        return;
    };
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        let tile = job.tile(row / TILE_ROWS);
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let blocks = &job.x[rows.start * w.blocks()..rows.end * w.blocks()];
            for (i, at) in rows.clone().enumerate() {
                let x = blocks[i..].iter().step_by(rows.len()).flat_map(|block| block.0);
                let sum = x.enumerate().fold(0.0f32, |sum, (column, x)| {
                    floats.number(tile, row % TILE_ROWS, column).mul_add(x, sum)
                });
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.place(at, row, 1).write(sum) };
            }
        }
    }
}

/// How a kind of float is read from a tile.
///
/// # Safety
/// As for [`simd::Simd`].
trait Tiled {
    /// Bytes of a pair of columns of a tile.
    const PAIR: usize;
    /// Both columns of a pair: `S::LANES` rows of the tile from row `first`.
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V);
}

struct F32;
struct F16;
struct Bf16;

// SAFETY (all): the caller vouches for the pair and the rows.
impl Tiled for F32 {
    const PAIR: usize = 2 * VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        let from = pair.wrapping_add(4 * first).cast::<f32>();
        // SAFETY: see above.
        unsafe { (S::load(from, S::LANES), S::load(from.wrapping_add(TILE_ROWS), S::LANES)) }
    }
}

impl Tiled for F16 {
    const PAIR: usize = VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        let from = pair.wrapping_add(2 * first);
        let second = from.wrapping_add(2 * TILE_ROWS);
        // SAFETY: see above.
        unsafe {
            (S::load_halves::<false>(from, S::LANES), S::load_halves::<false>(second, S::LANES))
        }
    }
}

impl Tiled for Bf16 {
    const PAIR: usize = VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        // SAFETY: see above.
        unsafe { S::load_pairs(pair.wrapping_add(4 * first)) }
    }
}

/// `MOST` is how many rows of activations a register tile takes: 4 or 8.
///
/// # Safety
/// The instruction set is present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
unsafe fn multiply<S: LoadHalves, const MOST: usize>(job: &Job<'_, Columns>, tiles: Range<usize>) {
    // SAFETY: as the caller vouches.
    unsafe {
        match job.w.layout.floats {
            Some(Floats::F32) => multiply_floats::<S, F32, MOST>(job, tiles),
            Some(Floats::F16) => multiply_floats::<S, F16, MOST>(job, tiles),
            Some(Floats::Bf16) => multiply_floats::<S, Bf16, MOST>(job, tiles),
            None => {}
        }
    }
}

#[inline(always)]
unsafe fn multiply_floats<S: LoadHalves, F: Tiled, const MOST: usize>(
    job: &Job<'_, Columns>,
    tiles: Range<usize>,
) {
    let strips: Strips = job.strips;
    let blocks = job.w.blocks();
    let longest = strips.rows(0).len() * blocks * size_of::<Columns>();
    let group = (RESIDENT / longest).max(1);
    let end = job.w.rows.min(tiles.end * TILE_ROWS);
    for first in (0..strips.count()).step_by(group) {
        let strips_here = first..strips.count().min(first + group);
        // A single strip reads weights once, in one go.
        let at_once = match strips_here.len() {
            1 => blocks,
            _ => (CLOSE / (BLOCK_COLS * F::PAIR)).max(1),
        };
        for lanes in (tiles.start * TILE_ROWS..end).step_by(2 * S::LANES) {
            for start in (0..blocks).step_by(at_once) {
                let columns = start..blocks.min(start + at_once);
                let mut next = next::<S, F>(job, lanes, &columns, strips_here.len());
                for strip in strips_here.clone() {
                    let part = Part { lanes, columns: columns.clone(), rows: strips.rows(strip) };
                    // SAFETY: the strip, the tiles and their lanes exist.
                    unsafe {
                        if lanes + S::LANES < end {
                            multiply_strip::<S, F, 2, MOST>(job, &part, &mut next);
                        } else {
                            multiply_strip::<S, F, 1, MOST>(job, &part, &mut next);
                        }
                    }
                }
            }
        }
    }
}

/// What some strips will need after `columns` of the tiles from `lanes` on: the columns that follow or, after
/// the last ones, the first of the next tiles. Nothing for a single strip, which goes through all columns at once.
#[inline(always)]
fn next<S: LoadHalves, F: Tiled>(
    job: &Job<'_, Columns>,
    lanes: usize,
    columns: &Range<usize>,
    strips: usize,
) -> [Ahead; 2] {
    let bytes = |blocks: usize| blocks * BLOCK_COLS / 2 * F::PAIR;
    let blocks = job.w.blocks();
    [lanes, lanes + S::LANES].map(|lanes| {
        // Both vectors may be of one tile.
        let of_another = lanes.is_multiple_of(TILE_ROWS);
        let left = if strips > 1 && of_another { bytes(columns.len()) } else { 0 };
        let lanes = lanes + if columns.end < blocks { 0 } else { 2 * S::LANES };
        let start = if columns.end < blocks { bytes(columns.end) } else { 0 };
        let tile = lanes / TILE_ROWS * bytes(blocks) + start;
        let line = job.tile(0).as_ptr().wrapping_add(tile);
        Ahead::new(line, left, strips * columns.len())
    })
}

/// A part of a product.
struct Part {
    /// The first of the weights' rows.
    lanes: usize,
    /// In blocks.
    columns: Range<usize>,
    /// A strip of activations.
    rows: Range<usize>,
}

/// `N` vectors of weight rows with all rows of a strip.
#[inline(always)]
unsafe fn multiply_strip<S: LoadHalves, F: Tiled, const N: usize, const MOST: usize>(
    job: &Job<'_, Columns>,
    part: &Part,
    next: &mut [Ahead; 2],
) {
    let mut row = 0;
    while row < part.rows.len() {
        let count = MOST.min(part.rows.len() - row);
        // SAFETY: as many rows as are left of the strip.
        unsafe {
            match count {
                1 => multiply_rows::<S, F, N, 1>(job, part, row, next),
                2 => multiply_rows::<S, F, N, 2>(job, part, row, next),
                3 => multiply_rows::<S, F, N, 3>(job, part, row, next),
                4 => multiply_rows::<S, F, N, 4>(job, part, row, next),
                5 => multiply_rows::<S, F, N, 5>(job, part, row, next),
                6 => multiply_rows::<S, F, N, 6>(job, part, row, next),
                7 => multiply_rows::<S, F, N, 7>(job, part, row, next),
                _ => multiply_rows::<S, F, N, 8>(job, part, row, next),
            }
        }
        row += count;
    }
}

/// `N` vectors of weight rows with `M` rows of a strip from its row `row`.
#[inline(always)]
unsafe fn multiply_rows<S: LoadHalves, F: Tiled, const N: usize, const M: usize>(
    job: &Job<'_, Columns>,
    part: &Part,
    row: usize,
    next: &mut [Ahead; 2],
) {
    let w = job.w;
    let Part { lanes, ref columns, ref rows } = *part;
    let skipped = columns.start * BLOCK_COLS / 2 * F::PAIR;
    let mut weights: [*const u8; N] = std::array::from_fn(|n| {
        job.tile((lanes + n * S::LANES) / TILE_ROWS).as_ptr().wrapping_add(skipped)
    });
    // SAFETY: the tiles have a chunk for each block of columns, and `x` the strip's rows of each; the
    // columns of the strip's rows are within `y` and this task's own. What is read of `y` was written
    // with the columns before.
    unsafe {
        let x = job.x.as_ptr().add(rows.start * w.blocks() + row);
        let mut x = x.add(columns.start * rows.len());
        let count = |n: usize| S::LANES.min(w.rows - (lanes + n * S::LANES));
        let place =
            |i: usize, n: usize| job.place(rows.start + row + i, lanes + n * S::LANES, count(n));
        let mut sums = [[S::splat(0.0); N]; M];
        if columns.start > 0 {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(place(i, n), count(n));
                }
            }
        }
        for _ in columns.clone() {
            next.iter_mut().for_each(Ahead::fetch);
            for pair in 0..BLOCK_COLS / 2 {
                let mut columns = [(S::splat(0.0), S::splat(0.0)); N];
                for (n, (at, columns)) in weights.iter_mut().zip(&mut columns).enumerate() {
                    simd::prefetch(at.wrapping_add(AHEAD));
                    if F::PAIR > VECTOR {
                        simd::prefetch(at.wrapping_add(AHEAD + VECTOR));
                    }
                    *columns = F::load::<S>(*at, (lanes + n * S::LANES) % TILE_ROWS);
                    *at = at.wrapping_add(F::PAIR);
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = &(*x.add(i)).0;
                    let (first, second) = (S::splat(x[2 * pair]), S::splat(x[2 * pair + 1]));
                    for (sum, columns) in sums.iter_mut().zip(&columns) {
                        *sum = S::mul_add(columns.0, first, *sum);
                        *sum = S::mul_add(columns.1, second, *sum);
                    }
                }
            }
            x = x.add(rows.len());
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                S::store(sum, place(i, n), count(n));
            }
        }
    }
}

/// Compiles the kernels for an instruction set with a fused multiply-add.
macro_rules! kernels {
    ($module:ident, $simd:ident, $most:literal, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod $module {
            use super::*;

            /// To be called only where the instruction set is present.
            pub(crate) const KERNELS: TileKernels<Columns> =
                TileKernels { strips: Strips::new, round: copy, multiply };

            #[target_feature(enable = $features)]
            unsafe fn multiply(job: &Job<'_, Columns>, tiles: Range<usize>) {
                // SAFETY: as the caller vouches.
                unsafe { super::multiply::<simd::$simd, $most>(job, tiles) }
            }
        }
    };
}

kernels!(avx2, Avx2, 4, "avx2,fma,f16c");
kernels!(avx512, Avx512, 8, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl");
