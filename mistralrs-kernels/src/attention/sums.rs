//! What the softmax of some rows has come to over a range of positions: of each row the weighted sum of
//! values, the largest score and the sum of weights relative to it. Sums over neighboring ranges can be
//! joined. Knows neither keys nor queries.

use crate::simd::Exponential;

/// The sums of some rows, in memory of someone else's.
pub(super) struct Sums<'a> {
    /// Weighted sums of values: `[rows, width]`.
    pub(super) values: &'a mut [f32],
    /// Numbers of a head, and what fills the last vector.
    pub(super) width: usize,
    /// The largest score so far, per row; a finite number, so that differences are numbers.
    pub(super) largest: &'a mut [f32],
    /// The sum of weights so far, per row; zero only where nothing was seen.
    pub(super) total: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// How many numbers `rows` rows take.
    #[inline(always)]
    pub(super) fn size(rows: usize, width: usize) -> usize {
        rows * (width + 2)
    }

    /// The sums that lie in `memory`, as many as [`Self::size`] says.
    #[inline(always)]
    pub(super) fn of(memory: &'a mut [f32], rows: usize, width: usize) -> Self {
        let (values, rest) = memory.split_at_mut(rows * width);
        let (largest, total) = rest.split_at_mut(rows);
        Self { values, width, largest, total }
    }

    /// Those of no position.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.values.fill(0.0);
        self.largest.fill(f32::MIN);
        self.total.fill(0.0);
    }

    /// Adds the sums of the positions that follow.
    ///
    /// # Safety
    /// The instruction set is present; both are of the same rows and width, which is whole vectors.
    #[inline(always)]
    pub(super) unsafe fn join<S: Exponential>(&mut self, next: &Sums<'_>) {
        let width = self.width;
        for row in 0..self.total.len() {
            let values = row * width..(row + 1) * width;
            if next.total[row] == 0.0 {
                continue;
            }
            if self.total[row] == 0.0 {
                self.values[values.clone()].copy_from_slice(&next.values[values]);
                (self.largest[row], self.total[row]) = (next.largest[row], next.total[row]);
                continue;
            }
            let (before, after) = (self.largest[row], next.largest[row]);
            let now = before.max(after);
            let mut factors = [0.0; 16];
            factors[..2].copy_from_slice(&[before - now, after - now]);
            // SAFETY: as the caller vouches; 16 numbers are at least a vector.
            unsafe {
                let at = factors.as_mut_ptr();
                S::store(S::exp(S::load(at, S::LANES)), at, S::LANES);
                let [here, there] = [factors[0], factors[1]].map(|factor| S::splat(factor));
                let (to, from) = (self.values.as_mut_ptr(), next.values.as_ptr());
                for at in values.step_by(S::LANES) {
                    let scaled = S::mul_add(S::load(from.add(at), S::LANES), there, S::splat(0.0));
                    let joined = S::mul_add(S::load(to.add(at), S::LANES), here, scaled);
                    S::store(joined, to.add(at), S::LANES);
                }
            }
            self.total[row] = self.total[row] * factors[0] + next.total[row] * factors[1];
            self.largest[row] = now;
        }
    }
}
