//! Weights that will be needed next, fetched a few cache lines at a time beside the arithmetic: all at once
//! they would wait for memory, which then has nothing to do while rows are multiplied.

use super::layout::VECTOR;
use crate::simd::prefetch;

/// Some bytes in a row that are not here yet.
pub(super) struct Ahead {
    line: *const u8,
    left: usize,
    per_step: usize,
}

impl Ahead {
    /// `bytes` from `line` on, which need not be there, fetched within `steps` calls.
    pub(super) fn new(line: *const u8, bytes: usize, steps: usize) -> Self {
        let left = bytes.div_ceil(VECTOR);
        Self { line, left, per_step: left.div_ceil(steps.max(1)) }
    }

    /// Has the next few lines fetched.
    #[inline(always)]
    pub(super) fn fetch(&mut self) {
        let count = self.per_step.min(self.left);
        for _ in 0..count {
            prefetch(self.line);
            self.line = self.line.wrapping_add(VECTOR);
        }
        self.left -= count;
    }
}
