//! 16-bit floats in tiles, multiplied with activations as they are: weights are widened, which costs two
//! instructions for two columns of all rows, and every product is an `f32` one. For processors without
//! `vdpbf16ps`, and for those where it is slow: measured on Emerald Rapids, it gives 85 GFLOP/s of a core
//! where `f32` gives 173. Knows no other format.
//!
//! A product adds even and odd columns apart, each from the first to the last with one rounding a column;
//! then the two sums.

use super::activations::Strips;
use super::layout::{BLOCK_COLS, TILE_ROWS, VECTOR};
use super::{Job, TileKernels};
use crate::simd::{self, LoadHalves};
use std::ops::Range;

/// 32 numbers of a row of activations.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Columns(pub(crate) [f32; BLOCK_COLS]);

/// The slow, obvious twin.
#[cfg(test)]
pub(super) const TWIN: TileKernels<Columns> =
    TileKernels { round: copy, multiply: multiply_slowly };

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 768 << 10;
/// How far ahead of the arithmetic weights are fetched: what memory delivers within its latency.
const AHEAD: usize = 4096;

/// Lays the rows of one strip side by side: `x` is `[rows, cols]`. Always safe; `unsafe` only to fit the
/// table.
unsafe fn copy(x: &[f32], rows: usize, out: &mut [Columns]) {
    let cols = x.len() / rows.max(1);
    for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = out[i..].iter_mut().step_by(rows);
        for (x, out) in x.as_chunks::<BLOCK_COLS>().0.iter().zip(out) {
            out.0 = *x;
        }
    }
}

/// # Safety
/// Nobody else writes the columns of `y` that belong to `tiles`.
#[cfg(test)]
unsafe fn multiply_slowly(job: &Job<'_, Columns>, tiles: Range<usize>) {
    let w = job.w;
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        let tile = job.tile(row / TILE_ROWS);
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let blocks = &job.x[rows.start * w.blocks()..rows.end * w.blocks()];
            for (i, at) in rows.clone().enumerate() {
                let mut sums = [0.0f32; 2];
                let x = blocks[i..].iter().step_by(rows.len()).flat_map(|block| block.0);
                for (column, x) in x.enumerate() {
                    let at = column / 2 * VECTOR + row % TILE_ROWS * 4 + column % 2 * 2;
                    let bits = u16::from_le_bytes([tile[at], tile[at + 1]]);
                    let weight = f32::from_bits(u32::from(bits) << 16);
                    sums[column % 2] = weight.mul_add(x, sums[column % 2]);
                }
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.y.write(at * w.rows + row, sums[0] + sums[1]) };
            }
        }
    }
}

/// `MOST` is how many rows of activations a register tile takes: 4 or 8.
///
/// # Safety
/// The instruction set is present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
unsafe fn multiply<S: LoadHalves, const MOST: usize>(job: &Job<'_, Columns>, tiles: Range<usize>) {
    let strips: Strips = job.strips;
    let longest = strips.rows(0).len() * job.w.blocks() * size_of::<Columns>();
    let group = (RESIDENT / longest).max(1);
    for first in (0..strips.count()).step_by(group) {
        for tile in tiles.clone() {
            for strip in first..strips.count().min(first + group) {
                for lanes in (0..TILE_ROWS).step_by(S::LANES) {
                    // SAFETY: the strip, the tile and its lanes exist.
                    unsafe { multiply_strip::<S, MOST>(job, (tile, lanes), strips.rows(strip)) };
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply_strip<S: LoadHalves, const MOST: usize>(
    job: &Job<'_, Columns>,
    at: (usize, usize),
    rows: Range<usize>,
) {
    let mut row = 0;
    while row < rows.len() {
        let count = MOST.min(rows.len() - row);
        // SAFETY: as many rows as are left of the strip.
        unsafe {
            match count {
                1 => multiply_rows::<S, 1>(job, at, &rows, row),
                2 => multiply_rows::<S, 2>(job, at, &rows, row),
                3 => multiply_rows::<S, 3>(job, at, &rows, row),
                4 => multiply_rows::<S, 4>(job, at, &rows, row),
                5 => multiply_rows::<S, 5>(job, at, &rows, row),
                6 => multiply_rows::<S, 6>(job, at, &rows, row),
                7 => multiply_rows::<S, 7>(job, at, &rows, row),
                _ => multiply_rows::<S, 8>(job, at, &rows, row),
            }
        }
        row += count;
    }
}

/// The lanes of a tile from `lanes` with `M` rows of a strip from its row `row`.
#[inline(always)]
unsafe fn multiply_rows<S: LoadHalves, const M: usize>(
    job: &Job<'_, Columns>,
    (tile, lanes): (usize, usize),
    rows: &Range<usize>,
    row: usize,
) {
    let w = job.w;
    let count = w.rows.saturating_sub(tile * TILE_ROWS + lanes).min(S::LANES);
    let mut weights = job.tile(tile).as_ptr().wrapping_add(4 * lanes);
    // SAFETY: the tile has a chunk for each block of columns, and `x` the strip's rows of each; the
    // columns of the strip's rows are within `y` and this task's own.
    unsafe {
        let mut x = job.x.as_ptr().add(rows.start * w.blocks() + row);
        let mut sums = [(S::splat(0.0), S::splat(0.0)); M];
        for _ in 0..w.blocks() {
            for pair in 0..BLOCK_COLS / 2 {
                simd::prefetch(weights.wrapping_add(AHEAD));
                let (even, odd) = S::load_pairs(weights);
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = &(*x.add(i)).0;
                    sum.0 = S::mul_add(even, S::splat(x[2 * pair]), sum.0);
                    sum.1 = S::mul_add(odd, S::splat(x[2 * pair + 1]), sum.1);
                }
                weights = weights.wrapping_add(VECTOR);
            }
            x = x.add(rows.len());
        }
        for (i, (even, odd)) in sums.into_iter().enumerate().filter(|_| count > 0) {
            let start = (rows.start + row + i) * w.rows + tile * TILE_ROWS + lanes;
            S::store(S::add(even, odd), job.y.part(start, count).as_mut_ptr(), count);
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
            pub(crate) const KERNELS: TileKernels<Columns> = TileKernels { round: copy, multiply };

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
