//! Products of activations with stored weights.
//!
//! Rows of weights are split over threads. A thread turns a panel of rows into `f32` once and
//! multiplies it with all rows of `x` in register tiles. With one row of `x` the panel is so small
//! that it stays in the first-level cache and the stored bytes are read in one stream; with many it
//! is as large as the second-level cache allows. Few rows of `x` with 16-bit weights go another way
//! to the same bits, see `direct`.

use crate::QuantType;
use crate::dispatch::{self, Dequantize, Kernels};
use crate::pool;
use crate::shared::{Scratch, SharedSlice};
use crate::simd::{LoadHalves, Simd};
use crate::tile::accumulate;
use std::ops::Range;

mod direct;

/// A stored weight matrix `[rows, cols]`, row after row.
#[derive(Debug, Clone, Copy)]
pub struct WeightRows<'a> {
    /// How the weights are stored.
    pub ty: QuantType,
    /// `rows` times the bytes of one row.
    pub bytes: &'a [u8],
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
}

/// Size of a panel when `x` has many rows, in numbers: 256 KiB of a second-level cache.
const PANEL: usize = 64 << 10;
/// Up to so many rows of `x`, small panels are better.
const FEW: usize = 16;
/// Below so many multiplications, waking threads costs more than they save.
const SERIAL: usize = 128 << 10;

/// Multiplies `x` `[m, cols]` with the transpose of `w` into `y` `[m, rows]`.
///
/// `y[i, j]` depends on row `i` of `x` and row `j` of `w` only, to the bit: not on `m`, nor on
/// the number of threads.
///
/// # Panics
/// If the sizes of the slices do not fit the shape of `w`.
pub fn matmul(w: &WeightRows<'_>, x: &[f32], y: &mut [f32]) {
    multiply_on(dispatch::kernels(), w, x, y);
}

/// One call of [`matmul`], checked.
pub(crate) struct Job<'a> {
    w: WeightRows<'a>,
    row_bytes: usize,
    x: &'a [f32],
    m: usize,
    y: SharedSlice<'a>,
    dequantize: Dequantize,
    panel_rows: usize,
}

pub(crate) fn multiply_on(kernels: &Kernels, w: &WeightRows<'_>, x: &[f32], y: &mut [f32]) {
    let row_bytes = w.ty.row_bytes(w.cols);
    let stored = row_bytes.and_then(|bytes| bytes.checked_mul(w.rows));
    assert_eq!(stored, Some(w.bytes.len()), "bytes of {w:?}", w = (w.ty, w.rows, w.cols));
    if w.rows == 0 || y.is_empty() {
        return;
    }
    let m = y.len() / w.rows;
    assert_eq!(Some(y.len()), m.checked_mul(w.rows), "y is not [m, {}]", w.rows);
    assert_eq!(Some(x.len()), m.checked_mul(w.cols), "x is not [{m}, {}]", w.cols);
    let threads = pool::threads();
    let panel_rows = match m {
        1 => 2,
        2..=FEW => 8,
        _ => {
            let share = w.rows.div_ceil(2 * threads);
            (PANEL / w.cols.max(1)).clamp(1, share).next_multiple_of(4)
        }
    };
    let job = Job {
        w: *w,
        row_bytes: row_bytes.unwrap_or(0),
        x,
        m,
        y: SharedSlice::new(y),
        dequantize: w.ty.dequantizer(kernels.isa),
        panel_rows,
    };
    let run = |rows: Range<usize>| {
        // SAFETY: the kernels' instruction set is present, the sizes were checked above, and each
        // task writes the columns of `y` that belong to its own weight rows.
        unsafe { (kernels.multiply)(&job, rows) }
    };
    let work = w.rows.saturating_mul(w.cols).saturating_mul(m);
    if work < SERIAL || threads == 1 {
        return run(0..w.rows);
    }
    let per_task = if m <= FEW {
        w.rows.div_ceil(4 * threads).next_multiple_of(panel_rows)
    } else {
        panel_rows
    };
    pool::in_parallel(w.rows.div_ceil(per_task), |task| {
        run(task * per_task..w.rows.min((task + 1) * per_task));
    });
}

/// Whether stored bytes can be read as numbers where they lie.
fn is_in_place(ty: QuantType) -> bool {
    ty == QuantType::F32 && cfg!(target_endian = "little")
}

/// Computes the columns of `y` that belong to `rows` of the weights. `WIDE` is how many rows of
/// `x` a tile takes at most.
///
/// # Safety
/// The instruction set is present; nobody else writes these columns.
#[inline(always)]
pub(crate) unsafe fn multiply<S: LoadHalves, const WIDE: usize>(job: &Job<'_>, rows: Range<usize>) {
    if direct::is_direct(job) {
        // SAFETY: as the caller vouches.
        return unsafe { direct::multiply::<S>(job, rows) };
    }
    let in_place = is_in_place(job.w.ty);
    let panel = if in_place { 0 } else { job.panel_rows * job.w.cols };
    let mut scratch = Scratch::take(panel);
    for first_row in rows.clone().step_by(job.panel_rows) {
        let count = job.panel_rows.min(rows.end - first_row);
        let weights = if in_place {
            let numbers = job.w.bytes.as_ptr().cast::<f32>();
            // SAFETY: row `first_row` exists.
            unsafe { numbers.add(first_row * job.w.cols) }
        } else {
            let panel = &mut scratch.numbers()[..count * job.w.cols];
            let bytes = first_row * job.row_bytes..(first_row + count) * job.row_bytes;
            // SAFETY: this clone belongs to the kernels' own instruction set.
            unsafe { (job.dequantize)(&job.w.bytes[bytes], panel) };
            panel.as_ptr()
        };
        let step = Step { job, weights, first_row };
        // SAFETY: `weights` has `count` rows.
        unsafe { multiply_panel::<S, WIDE>(&step, count) };
    }
}

/// A panel of weights about to be multiplied with all of `x`.
struct Step<'a> {
    job: &'a Job<'a>,
    weights: *const f32,
    first_row: usize,
}

#[inline(always)]
unsafe fn multiply_panel<S: Simd, const WIDE: usize>(step: &Step<'_>, count: usize) {
    let m = step.job.m;
    let mut i = 0;
    // SAFETY: the tiles cover `count` panel rows and `m` rows of `x`, no more.
    unsafe {
        while WIDE >= 4 && i + 4 <= m {
            multiply_strip::<S, 4, 4>(step, count, i);
            i += 4;
        }
        while i + 2 <= m {
            multiply_strip::<S, 4, 2>(step, count, i);
            i += 2;
        }
        if i < m {
            multiply_strip::<S, 2, 1>(step, count, i);
        }
    }
}

/// All panel rows, `R` at a time, with `C` rows of `x` from row `i`.
#[inline(always)]
unsafe fn multiply_strip<S: Simd, const R: usize, const C: usize>(
    step: &Step<'_>,
    count: usize,
    i: usize,
) {
    let mut j = 0;
    // SAFETY: as in `multiply_panel`.
    unsafe {
        while j + R <= count {
            multiply_tile::<S, R, C>(step, j, i);
            j += R;
        }
        while j < count {
            multiply_tile::<S, 1, C>(step, j, i);
            j += 1;
        }
    }
}

#[inline(always)]
unsafe fn multiply_tile<S: Simd, const R: usize, const C: usize>(
    step: &Step<'_>,
    j: usize,
    i: usize,
) {
    let job = step.job;
    let cols = job.w.cols;
    // SAFETY: rows `j..j + R` of the panel and `i..i + C` of `x` exist, and so do their places in
    // `y`, which are this task's own.
    unsafe {
        let a = std::array::from_fn(|r| step.weights.add((j + r) * cols));
        let b = std::array::from_fn(|c| job.x.as_ptr().add((i + c) * cols));
        let mut sums = [[S::splat(0.0); C]; R];
        accumulate::<S, R, C>(a, b, cols, &mut sums);
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                let at = (i + c) * job.w.rows + step.first_row + j + r;
                job.y.write(at, S::sum(*sum));
            }
        }
    }
}

#[cfg(test)]
mod tests;
