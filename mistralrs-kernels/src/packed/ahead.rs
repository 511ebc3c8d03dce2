//! Weights that will be needed next, fetched a few cache lines at a time beside the arithmetic: all at once
//! they would wait for memory, which then has nothing to do while rows are multiplied.

use crate::simd::{LINE, prefetch, prefetch_early};

/// How far ahead of the arithmetic weights that stream by are fetched into the second-level cache, and from there into
/// the first: what memory delivers within its latency. The first-level cache alone can wait for sixteen lines at a time,
/// which is three quarters of what memory gives.
const EARLY: usize = 8192;
const SOON: usize = 2048;

/// Has what is needed a while after the `bytes` from `from` on fetched.
#[inline(always)]
pub(super) fn stream(from: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE) {
        prefetch_early(from.wrapping_add(EARLY + line * LINE));
        prefetch(from.wrapping_add(SOON + line * LINE));
    }
}

/// Some bytes in a row that are not here yet.
pub(super) struct Ahead {
    line: *const u8,
    last: *const u8,
    per_step: usize,
}

impl Ahead {
    /// `bytes` from `line` on, which need not be there, fetched within `steps` calls.
    pub(super) fn new(line: *const u8, bytes: usize, steps: usize) -> Self {
        let lines = bytes.div_ceil(LINE);
        let last = line.wrapping_add(lines.saturating_sub(1) * LINE);
        Self { line, last, per_step: lines.div_ceil(steps.max(1)) }
    }

    /// Has the next few lines fetched; after the last one that one again, which costs less than to ask.
    #[inline(always)]
    pub(super) fn fetch(&mut self) {
        for _ in 0..self.per_step {
            prefetch(self.line);
            self.line = self.line.wrapping_add(LINE).min(self.last);
        }
    }
}
