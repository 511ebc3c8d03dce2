//! Products with 16-bit weights that are widened on their way into a register: for few rows of
//! `x`, where a copy would cost more than the arithmetic. The sums run as in `tile`, so the bits are
//! those of the way through panels.

use super::Job;
use crate::QuantType;
use crate::simd::{LINE, LoadHalves, prefetch};
use std::ops::Range;

/// Up to so many rows of `x`, this way is the faster one.
const FEW: usize = 8;
/// How far ahead of the arithmetic a single row is fetched, in bytes.
const AHEAD: usize = 2560;

/// Whether a job is for this module.
pub(super) fn is_direct(job: &Job<'_>) -> bool {
    job.m <= FEW && matches!(job.w.ty, QuantType::BF16 | QuantType::F16)
}

/// Computes the columns of `y` that belong to `rows` of the weights.
///
/// # Safety
/// As for `multiply`, and `is_direct` said yes.
#[inline(always)]
pub(super) unsafe fn multiply<S: LoadHalves>(job: &Job<'_>, rows: Range<usize>) {
    // SAFETY: as the caller vouches.
    unsafe {
        if job.w.ty == QuantType::BF16 {
            multiply_rows::<S, true>(job, rows);
        } else {
            multiply_rows::<S, false>(job, rows);
        }
    }
}

#[inline(always)]
unsafe fn multiply_rows<S: LoadHalves, const BF16: bool>(job: &Job<'_>, rows: Range<usize>) {
    let mut j = rows.start;
    // SAFETY: the strips cover `rows`, no more.
    unsafe {
        // One row of `x` takes what memory delivers, best in a single stream.
        while job.m > 1 && j + 4 <= rows.end {
            multiply_strip::<S, BF16, 4>(job, j);
            j += 4;
        }
        while j < rows.end {
            multiply_strip::<S, BF16, 1>(job, j);
            j += 1;
        }
    }
}

/// `R` rows of weights from row `j` with all rows of `x`.
#[inline(always)]
unsafe fn multiply_strip<S: LoadHalves, const BF16: bool, const R: usize>(job: &Job<'_>, j: usize) {
    let mut i = 0;
    // SAFETY: the tiles cover `m` rows of `x`, no more.
    unsafe {
        while i + 4 <= job.m {
            multiply_tile::<S, BF16, R, 4>(job, j, i);
            i += 4;
        }
        if i + 2 <= job.m {
            multiply_tile::<S, BF16, R, 2>(job, j, i);
            i += 2;
        }
        if i < job.m {
            multiply_tile::<S, BF16, R, 1>(job, j, i);
        }
    }
}

#[inline(always)]
unsafe fn multiply_tile<S: LoadHalves, const BF16: bool, const R: usize, const C: usize>(
    job: &Job<'_>,
    j: usize,
    i: usize,
) {
    let cols = job.w.cols;
    let weights = job.w.bytes.as_ptr();
    // SAFETY: the rows of weights and of `x` exist, and so do their places in `y`, which are this
    // task's own; fetching ahead reads nothing.
    unsafe {
        let a: [*const u8; R] = std::array::from_fn(|r| weights.add((j + r) * job.row_bytes));
        let b: [*const f32; C] = std::array::from_fn(|c| job.x.as_ptr().add((i + c) * cols));
        let mut sums = [[S::splat(0.0); C]; R];
        let mut column = 0;
        while column + 2 * S::LANES <= cols {
            step::<S, BF16, R, C>(a, b, (column, S::LANES), &mut sums);
            step::<S, BF16, R, C>(a, b, (column + S::LANES, S::LANES), &mut sums);
            // In the order of memory: what comes next in the row, or the next rows.
            let ahead = if R == 1 { AHEAD } else { R * job.row_bytes };
            for line in 0..R {
                prefetch(a[0].wrapping_add(R * 2 * column + ahead + line * LINE));
            }
            column += 2 * S::LANES;
        }
        while column < cols {
            let count = S::LANES.min(cols - column);
            step::<S, BF16, R, C>(a, b, (column, count), &mut sums);
            column += count;
        }
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                job.y.write((i + c) * job.w.rows + j + r, S::sum(*sum));
            }
        }
    }
}

#[inline(always)]
unsafe fn step<S: LoadHalves, const BF16: bool, const R: usize, const C: usize>(
    a: [*const u8; R],
    b: [*const f32; C],
    (column, count): (usize, usize),
    sums: &mut [[S::V; C]; R],
) {
    // SAFETY: the caller vouches for `count` numbers from `column` of every row.
    unsafe {
        let mut of_b = [S::splat(0.0); C];
        for (v, b) in of_b.iter_mut().zip(b) {
            *v = S::load(b.add(column), count);
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let of_a = S::load_halves::<BF16>(a.add(2 * column), count);
            for (sum, of_b) in sums.iter_mut().zip(of_b) {
                *sum = S::mul_add(of_a, of_b, *sum);
            }
        }
    }
}
