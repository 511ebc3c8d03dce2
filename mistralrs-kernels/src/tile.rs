//! Dot products of a few rows with a few rows at once: the heart of matmul and of attention's
//! scores. Each pair of rows has one vector accumulator that walks the columns in order, and the
//! columns beyond the last whole vector follow from the length alone; so a pair's result does not
//! depend on which other rows share its tile.

use crate::simd::Simd;

/// Adds to `sums[r][c]` the products of `a[r]` and `b[c]` over `len` columns.
///
/// # Safety
/// The instruction set is present and every pointer is good for `len` numbers.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const R: usize, const C: usize>(
    a: [*const f32; R],
    b: [*const f32; C],
    len: usize,
    sums: &mut [[S::V; C]; R],
) {
    let mut local = *sums;
    let mut column = 0;
    // SAFETY: `step` touches `column..column + count`, within `len`.
    unsafe {
        while column + S::LANES <= len {
            step::<S, R, C>(a, b, (column, S::LANES), &mut local);
            column += S::LANES;
        }
        if column < len {
            step::<S, R, C>(a, b, (column, len - column), &mut local);
        }
    }
    *sums = local;
}

#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const C: usize>(
    a: [*const f32; R],
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
            let of_a = S::load(a.add(column), count);
            for (sum, of_b) in sums.iter_mut().zip(of_b) {
                *sum = S::mul_add(of_a, of_b, *sum);
            }
        }
    }
}
