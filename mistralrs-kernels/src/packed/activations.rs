//! Activations as signed bytes: each 32 columns of a row share a scale, a 127th of their largest
//! magnitude; ties round to even. So no number is off by more than a 254th of the largest in its 32.
//! For weights whose integer scales share a half for 256 columns, so do activations: products, times the integer
//! scales, are added up in integers then.
//! Knows no weights.
//!
//! Rows are cut into strips of a few that depend on their number alone; a strip lies block
//! after block, its rows side by side, as a kernel reads it.

use super::exact::Columns;
use super::layout::{BLOCK_COLS, CHUNK_COLS};
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
    /// The sum of all codes, times the scale.
    pub(crate) sum: f32,
}

/// 256 numbers of a row of activations: six cache lines.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// The numbers, divided by `scale` and rounded.
    pub(crate) codes: [i8; CHUNK_COLS],
    /// The sum of each 16 codes, times -128: what a zero of 128 adds to a product, taken off again.
    pub(crate) half_offsets: [i32; CHUNK_COLS / 16],
    /// The sum of each 16 codes.
    pub(crate) half_sums: [i16; CHUNK_COLS / 16],
    /// The sum of each 32.
    pub(crate) sums: [i16; CHUNK_COLS / BLOCK_COLS],
    /// What a unit stands for.
    pub(crate) scale: f32,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { codes: [0; _], half_offsets: [0; _], half_sums: [0; _], sums: [0; _], scale: 0.0 }
    }
}

/// What is smaller has no inverse: as good as zero.
pub(super) const LEAST: f32 = 1e-30;

/// Rounds numbers to `codes` and returns what a unit stands for: not finite if one of them is not.
#[inline(always)]
fn quantize(x: &[f32], codes: &mut [i8]) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let largest = x.iter().fold(0, |largest: u32, x| largest.max(x.abs().to_bits()));
    let largest = f32::from_bits(largest);
    let inverse = inverse(largest);
    for (code, x) in codes.iter_mut().zip(x) {
        // The integer appears in the last bits of the sum.
        let rounded = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i8;
        *code = if inverse > 0.0 { rounded } else { 0 };
    }
    scale(largest)
}

/// What numbers are multiplied with whose largest magnitude is `largest`.
#[inline(always)]
pub(super) fn inverse(largest: f32) -> f32 {
    if largest >= LEAST && largest.is_finite() { 127.0 / largest } else { 0.0 }
}

/// What a unit of theirs stands for.
#[inline(always)]
pub(super) fn scale(largest: f32) -> f32 {
    match largest {
        _ if inverse(largest) > 0.0 => largest / 127.0,
        _ if largest.is_finite() => 0.0,
        _ => f32::NAN,
    }
}

impl Block {
    /// Rounds 32 numbers.
    #[inline(always)]
    pub(super) fn quantize(&mut self, x: &[f32; BLOCK_COLS]) {
        self.scale = quantize(x, &mut self.codes);
        // Apart from the loop in there, so that both become vectors.
        let sum = self.codes.iter().map(|code| i32::from(*code)).sum::<i32>();
        self.offset = -128 * sum;
        self.sum = sum as f32 * self.scale;
    }
}

impl Chunk {
    /// Rounds 256 numbers.
    #[inline(always)]
    pub(super) fn quantize(&mut self, x: &[f32; CHUNK_COLS]) {
        self.scale = quantize(x, &mut self.codes);
        for (sum, codes) in self.half_sums.iter_mut().zip(self.codes.as_chunks::<16>().0) {
            *sum = codes.iter().map(|code| i16::from(*code)).sum();
        }
        for (offset, sum) in self.half_offsets.iter_mut().zip(self.half_sums) {
            *offset = -128 * i32::from(sum);
        }
        for (sum, [low, high]) in self.sums.iter_mut().zip(self.half_sums.as_chunks().0) {
            *sum = low + high;
        }
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

/// The same with a chunk per 256 columns.
#[inline(always)]
pub(crate) fn quantize_chunks(x: &[f32], rows: usize, out: &mut [Chunk]) {
    let cols = x.len() / rows.max(1);
    for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let out = out[i..].iter_mut().step_by(rows);
        for (x, out) in x.as_chunks::<CHUNK_COLS>().0.iter().zip(out) {
            out.quantize(x);
        }
    }
}

/// How `m` rows are cut into strips of nearly the same length, and which of these are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strips {
    m: usize,
    /// Rows of a strip, but that so many of the first ones are one longer.
    short: usize,
    longer: usize,
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
        let (short, longer) = (m / count.max(1), m % count.max(1));
        Self { m, short, longer, first: 0, count }
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
        let start = at * self.short + at.min(self.longer);
        start..start + self.short + usize::from(at < self.longer)
    }
}

/// Activations rounded for some kind of weight, some numbers of a row each.
pub(crate) trait Rounded: Copy + Default + Send + Sync + 'static {
    /// How many.
    const COLS: usize;
    /// The calling thread's memory for them: as many pieces as were in use at once.
    fn memory() -> &'static LocalKey<Cell<Vec<Vec<Self>>>>;
}

macro_rules! rounded {
    ($($name:ident: $cols:expr),*) => {
        $(impl Rounded for $name {
            const COLS: usize = $cols;

            fn memory() -> &'static LocalKey<Cell<Vec<Vec<Self>>>> {
                thread_local! {
                    static MEMORY: Cell<Vec<Vec<$name>>> = const { Cell::new(Vec::new()) };
                }
                &MEMORY
            }
        })*
    };
}

rounded!(Block: BLOCK_COLS, Chunk: CHUNK_COLS, Pairs: BLOCK_COLS, Columns: BLOCK_COLS);
