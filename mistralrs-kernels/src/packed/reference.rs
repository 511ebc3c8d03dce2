//! The slow, obvious twin of the packed kernels: the same integers, the same sums in the same order,
//! one pair of rows at a time.

use super::activations::{Block, Strips, quantize_strip};
use super::layout::TILE_ROWS;
use super::twelve::{self, Beside};
use super::{Job, PackedKernels, QuantType, TileKernels, exact, pack_tile, pairs, with_format};
use std::ops::Range;

/// Plain loops for every processor.
pub(super) const KERNELS: PackedKernels = PackedKernels {
    integers: TileKernels { strips: Strips::new, round, multiply },
    floats: exact::TWIN,
    pairs: Some(pairs::KERNELS),
    twelve: Some(pack_twelve),
    pack,
};

/// Always safe; `unsafe` only to fit the table.
unsafe fn round(x: &[f32], rows: usize, out: &mut [Block]) {
    quantize_strip(x, rows, out);
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
    let w = job.part.w;
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let blocks = &job.x[rows.start * w.blocks()..rows.end * w.blocks()];
            for (i, at) in rows.clone().enumerate() {
                let x = blocks[i..].iter().step_by(rows.len());
                let sum = dot(job, row, x);
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.place(at, row, 1).write(job.result(row, sum)) };
            }
        }
    }
}

/// One weight row with one row of activations.
fn dot<'a>(job: &Job<'_, Block>, row: usize, x: impl Iterator<Item = &'a Block>) -> f32 {
    let layout = &job.part.w.layout;
    let tile = job.tile(row / TILE_ROWS);
    let row = row % TILE_ROWS;
    let mut sum = 0.0;
    for (at, x) in x.enumerate() {
        let (chunk, b) = (at / layout.chunk_blocks(), at % layout.chunk_blocks());
        let chunk = &tile[chunk * layout.chunk_bytes()..];
        let codes =
            layout.read_codes(&chunk[layout.head_bytes() + b * layout.block_bytes()..], row);
        let scales = layout.read_scales(chunk, b, row);
        let halves: [i32; 2] = [0, 16].map(|from| {
            let pairs = codes[from..from + 16].iter().zip(&x.codes[from..from + 16]);
            pairs.map(|(code, x)| (i32::from(*code) - layout.zero) * i32::from(*x)).sum()
        });
        if layout.halves {
            for (half, (scale, _)) in halves.iter().zip(scales) {
                sum = (*half as f32).mul_add(scale * x.scale, sum);
            }
            if layout.mins {
                for ((_, min), x) in scales.iter().zip(x.half_sums) {
                    sum = min.mul_add(x, sum);
                }
            }
        } else {
            sum = ((halves[0] + halves[1]) as f32).mul_add(scales[0].0 * x.scale, sum);
            if layout.mins {
                sum = scales[0].1.mul_add(x.sum, sum);
            }
        }
    }
    sum
}
