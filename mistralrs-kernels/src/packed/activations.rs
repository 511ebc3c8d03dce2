//! Activations as signed bytes: each 32 columns of a row share a scale, a 127th of their largest
//! magnitude; ties round to even. So no number is off by more than a 254th of the largest in its 32.
//! Knows no weights.
//!
//! Rows are cut into strips of a few that depend on their number alone; a strip lies block
//! after block, its rows side by side, as a kernel reads it.

use super::exact::Columns;
use super::layout::BLOCK_COLS;
use super::pairs::Pairs;
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

/// Rows of a strip, at most, for kernels that have no wish of their own.
pub(crate) const STRIP: usize = 8;

/// 32 numbers of a row of activations: one cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Block {
    /// The numbers, divided by `scale` and rounded.
    pub(crate) codes: [i8; BLOCK_COLS],
    /// What a unit stands for.
    pub(crate) scale: f32,
    /// The sum of all codes, times -128: what a zero of 128 adds to a product, taken off again.
    pub(crate) offset: i32,
    /// The same of each half of the codes.
    pub(crate) half_offsets: [i32; 2],
    /// The sum of all codes, times the scale.
    pub(crate) sum: f32,
    /// The sum of each half, times the scale.
    pub(crate) half_sums: [f32; 2],
}

impl Block {
    /// What is smaller has no inverse: as good as zero.
    pub(super) const LEAST: f32 = 1e-30;

    /// Rounds 32 numbers. If one of them is not finite, so is the scale.
    #[inline(always)]
    pub(super) fn quantize(&mut self, x: &[f32; BLOCK_COLS]) {
        const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
        let largest = x.iter().fold(0, |largest: u32, x| largest.max(x.abs().to_bits()));
        let largest = f32::from_bits(largest);
        let inverse = Self::inverse(largest);
        for (code, x) in self.codes.iter_mut().zip(x) {
            // The integer appears in the last bits of the sum.
            let rounded = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i8;
            *code = if inverse > 0.0 { rounded } else { 0 };
        }
        // Apart from the loop above, so that both become vectors.
        let halves = [0, BLOCK_COLS / 2].map(|from| {
            let half = &self.codes[from..from + BLOCK_COLS / 2];
            half.iter().map(|code| i32::from(*code)).sum::<i32>()
        });
        self.describe(largest, halves);
    }

    /// What numbers are multiplied with whose largest magnitude is `largest`.
    #[inline(always)]
    fn inverse(largest: f32) -> f32 {
        if largest >= Self::LEAST && largest.is_finite() { 127.0 / largest } else { 0.0 }
    }

    /// Notes what is known beside the codes: the largest magnitude, the sums of both halves' codes.
    #[inline(always)]
    fn describe(&mut self, largest: f32, halves: [i32; 2]) {
        self.scale = match largest {
            _ if Self::inverse(largest) > 0.0 => largest / 127.0,
            _ if largest.is_finite() => 0.0,
            _ => f32::NAN,
        };
        self.half_offsets = halves.map(|sum| -128 * sum);
        self.offset = self.half_offsets[0] + self.half_offsets[1];
        self.sum = (halves[0] + halves[1]) as f32 * self.scale;
        self.half_sums = halves.map(|sum| sum as f32 * self.scale);
    }
}

/// Rounds the rows of one strip: `x` is `[rows, cols]`, `out` has a block per 32 columns and row.
#[inline(always)]
pub(crate) fn quantize_strip(x: &[f32], rows: usize, out: &mut [Block]) {
    let cols = x.len() / rows.max(1);
    for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = out[i..].iter_mut().step_by(rows);
        for (x, out) in x.as_chunks::<BLOCK_COLS>().0.iter().zip(out) {
            out.quantize(x);
        }
    }
}

/// How `m` rows are cut into strips of nearly the same length, and which of these are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strips {
    m: usize,
    /// Of all rows.
    cut: usize,
    first: usize,
    count: usize,
}

impl Strips {
    /// Of up to [`STRIP`] rows.
    pub(crate) fn new(m: usize) -> Self {
        Self::up_to(STRIP, m)
    }

    /// Of up to `most` rows.
    pub(crate) fn up_to(most: usize, m: usize) -> Self {
        let count = m.div_ceil(most);
        Self { m, cut: count, first: 0, count }
    }

    /// Up to `count` of these strips from number `first` on.
    pub(crate) fn part(self, first: usize, count: usize) -> Self {
        let count = count.min(self.count - first);
        Self { first: self.first + first, count, ..self }
    }

    /// The rows of the strips that are meant; there is one.
    pub(crate) fn all(self) -> Range<usize> {
        self.rows(0).start..self.rows(self.count - 1).end
    }

    /// How many rows were cut.
    pub(crate) fn total(self) -> usize {
        self.m
    }

    /// How many strips are meant.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// The rows of strip `at` of those that are meant; none is longer than the first.
    pub(crate) fn rows(self, at: usize) -> Range<usize> {
        let at = self.first + at;
        let (short, longer) = (self.m / self.cut, self.m % self.cut);
        let start = at * short + at.min(longer);
        start..start + short + usize::from(at < longer)
    }
}

/// Activations rounded for some kind of weight, 32 numbers of a row each.
pub(crate) trait Rounded: Copy + Default + Send + Sync + 'static {
    /// The calling thread's memory for them.
    fn memory() -> &'static LocalKey<Cell<Vec<Self>>>;
}

thread_local! {
    static BLOCKS: Cell<Vec<Block>> = const { Cell::new(Vec::new()) };
    static PAIRS: Cell<Vec<Pairs>> = const { Cell::new(Vec::new()) };
    static COLUMNS: Cell<Vec<Columns>> = const { Cell::new(Vec::new()) };
}

impl Rounded for Block {
    fn memory() -> &'static LocalKey<Cell<Vec<Self>>> {
        &BLOCKS
    }
}

impl Rounded for Pairs {
    fn memory() -> &'static LocalKey<Cell<Vec<Self>>> {
        &PAIRS
    }
}

impl Rounded for Columns {
    fn memory() -> &'static LocalKey<Cell<Vec<Self>>> {
        &COLUMNS
    }
}
