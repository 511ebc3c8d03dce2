//! The slow, obvious twin of the packed kernels: the same integers, the same sums in the same order,
//! one pair of rows at a time.

use super::activations::{Block, Chunk, Rounded, Strips, quantize_chunks, quantize_strip};
use super::layout::{BLOCK_COLS, TILE_ROWS};
use super::twelve::{self, Beside};
use super::{Job, PackedKernels, QuantType, TileKernels, exact, pack_tile, pairs, with_format};
use std::ops::Range;

/// Plain loops for every processor.
pub(super) const KERNELS: PackedKernels = PackedKernels {
    blocks: TileKernels { strips: Strips::new, round, multiply },
    chunks: TileKernels { strips: Strips::new, round: round_chunks, multiply: multiply_chunks },
    floats: exact::TWIN,
    pairs: Some(pairs::KERNELS),
    twelve: Some(pack_twelve),
    pack,
};

/// Always safe; `unsafe` only to fit the table.
unsafe fn round(x: &[f32], rows: usize, out: &mut [Block]) {
    quantize_strip(x, rows, out);
}

/// Always safe, too.
unsafe fn round_chunks(x: &[f32], rows: usize, out: &mut [Chunk]) {
    quantize_chunks(x, rows, out);
}

/// Always safe.
unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
    with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
}

/// Always safe.
unsafe fn pack_twelve(rows: &[u8], row_bytes: usize, tile: &mut [u8]) -> Beside {
    twelve::pack_tile(rows, row_bytes, tile)
}

/// # Safety
/// Nobody else writes the columns of `y` that belong to `tiles`.
unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
    // SAFETY: as the caller vouches.
    unsafe { multiply_rows(job, tiles, dot) }
}

/// # Safety
/// As above.
unsafe fn multiply_chunks(job: &Job<'_, Chunk>, tiles: Range<usize>) {
    // SAFETY: as the caller vouches.
    unsafe { multiply_rows(job, tiles, dot_chunks) }
}

/// # Safety
/// As above.
unsafe fn multiply_rows<X: Rounded>(
    job: &Job<'_, X>,
    tiles: Range<usize>,
    dot: fn(&Job<'_, X>, usize, &mut dyn Iterator<Item = &X>) -> f32,
) {
    let w = job.part.w;
    let blocks = w.cols.div_ceil(X::COLS);
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let x = &job.x[rows.start * blocks..rows.end * blocks];
            for (i, at) in rows.clone().enumerate() {
                let sum = dot(job, row, &mut x[i..].iter().step_by(rows.len()));
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.place(at, row, 1).write(job.result(row, sum)) };
            }
        }
    }
}

/// One weight row with one row of activations.
fn dot(job: &Job<'_, Block>, row: usize, x: &mut dyn Iterator<Item = &Block>) -> f32 {
    let layout = &job.part.w.layout;
    let (tile, row) = (job.tile(row / TILE_ROWS), row % TILE_ROWS);
    let mut sum = 0.0;
    for (block, x) in tile.chunks_exact(layout.block_bytes()).zip(x) {
        let codes = layout.read_codes(block, row).map(|code| i32::from(code) - layout.zero);
        let product: i32 = codes.iter().zip(x.codes).map(|(w, x)| w * i32::from(x)).sum();
        let (scale, min) = layout.read_scale(block, row);
        sum = (product as f32).mul_add(scale * x.scale, sum);
        if layout.mins {
            sum = min.mul_add(x.sum, sum);
        }
    }
    sum
}

/// The same where scales are integers.
fn dot_chunks(job: &Job<'_, Chunk>, row: usize, x: &mut dyn Iterator<Item = &Chunk>) -> f32 {
    let layout = &job.part.w.layout;
    let (tile, row) = (job.tile(row / TILE_ROWS), row % TILE_ROWS);
    let mut sum = 0.0;
    for (chunk, x) in tile.chunks_exact(layout.chunk_bytes()).zip(x) {
        let (mut product, mut offset) = (0, 0);
        for (b, x) in x.codes.as_chunks::<BLOCK_COLS>().0.iter().enumerate() {
            let codes = layout.read_codes(layout.block(chunk, b), row);
            let scales = layout.integer_scales(chunk, b, row);
            for (i, (code, x)) in codes.into_iter().zip(x).enumerate() {
                let (scale, min) = scales[i / 16];
                product += scale * (i32::from(code) - layout.zero) * i32::from(*x);
                offset += min * i32::from(*x);
            }
        }
        let (scale, min) = layout.units(chunk, row);
        let mut both = product as f32 * scale;
        if layout.mins {
            both = (offset as f32).mul_add(min, both);
        }
        sum = both.mul_add(x.scale, sum);
    }
    sum
}
