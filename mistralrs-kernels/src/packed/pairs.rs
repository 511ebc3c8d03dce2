//! Activations rounded to 16-bit floats, the nearest, ties to even, for weights in such; and the slow twin
//! of their product. Knows no other format.
//!
//! A product adds the pairs of columns one after the other, of each pair the second column first, with
//! one rounding for each column: so does the instruction `vdpbf16ps`. It takes numbers below the
//! smallest normal one for zero; the slow twin does so too.

use super::activations::Strips;
use super::layout::{BLOCK_COLS, TILE_ROWS, VECTOR};
use super::{Job, TileKernels};
use std::ops::Range;

/// 32 rounded numbers of a row of activations, as pairs of columns: one cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pairs(pub(crate) [u32; BLOCK_COLS / 2]);

/// The slow, obvious twin.
pub(super) const KERNELS: TileKernels<Pairs> = TileKernels { strips: Strips::new, round, multiply };

/// The two numbers of a pair.
#[inline(always)]
fn numbers(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// The upper half of the nearest 16-bit float; of what is no number, one that is none either.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if x.is_nan() { bits | 0x0040_0000 } else { rounded }) >> 16
}

/// Rounds the rows of one strip: `x` is `[rows, cols]`, `out` has a line per 32 columns and row.
#[inline(always)]
pub(super) fn round_strip(x: &[f32], rows: usize, out: &mut [Pairs]) {
    let cols = x.len() / rows.max(1);
    for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = out[i..].iter_mut().step_by(rows);
        for (x, out) in x.chunks(BLOCK_COLS).zip(out) {
            let mut whole = [0.0; BLOCK_COLS];
            whole[..x.len()].copy_from_slice(x);
            let pair = |p: usize| nearest(whole[2 * p]) | nearest(whole[2 * p + 1]) << 16;
            out.0 = std::array::from_fn(pair);
        }
    }
}

/// Always safe; `unsafe` only to fit the table.
unsafe fn round(x: &[f32], rows: usize, out: &mut [Pairs]) {
    round_strip(x, rows, out);
}

/// # Safety
/// Nobody else writes the columns of `y` that belong to `tiles`.
unsafe fn multiply(job: &Job<'_, Pairs>, tiles: Range<usize>) {
    let w = job.part.w;
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let lines = &job.x[rows.start * w.blocks()..rows.end * w.blocks()];
            for (i, at) in rows.clone().enumerate() {
                let x = lines[i..].iter().step_by(rows.len());
                let sum = dot(job.tile(row / TILE_ROWS), row % TILE_ROWS, x);
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.place(at, row, 1).write(job.result(row, sum)) };
            }
        }
    }
}

/// One weight row with one row of activations. Two sums, for even and odd pairs: one alone would wait
/// for itself.
fn dot<'a>(tile: &[u8], row: usize, x: impl Iterator<Item = &'a Pairs>) -> f32 {
    let mut sums = [0.0; 2];
    for (chunk, x) in tile.chunks_exact(BLOCK_COLS / 2 * VECTOR).zip(x) {
        for (p, (vector, x)) in chunk.chunks_exact(VECTOR).zip(x.0).enumerate() {
            let w = u32::from_le_bytes([0, 1, 2, 3].map(|byte| vector[4 * row + byte]));
            let (w, x) = (numbers(w).map(normal), numbers(x).map(normal));
            for column in [1, 0] {
                sums[p % 2] = normal(w[column].mul_add(x[column], sums[p % 2]));
            }
        }
    }
    sums[0] + sums[1]
}

/// Zero instead of a number too small to be normal.
fn normal(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}
