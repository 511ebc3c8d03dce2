//! Bfloat16 in twelve bits, and back to the bit. The sizes of a tile's weights differ little: nearly all have one of
//! fifteen exponents or the one of zero. Four bits say which, eight hold sign and fraction; a number with another
//! exponent is kept apart. Knows no products.
//!
//! A tile has 192 bytes for each eight columns of its 16 rows, an octet: two vectors of signs and fractions, each of
//! four columns, and one of exponents, a word for each row in all three. Column `c` of four has its fraction and sign
//! where a 32-bit float has them once the word is rotated to the left by `8 c` bits; column `c` of eight has its
//! exponent's number at bit `4 c`.

use super::layout::{TILE_ROWS, VECTOR};
use crate::matmul::WeightRows;

/// Columns of an octet.
pub(super) const COLS: usize = 8;
/// Its bytes.
pub(super) const OCTET: usize = 3 * VECTOR;
/// Exponents that have a number, without the one of zero.
const EXPONENTS: u32 = 15;
/// Where a float has sign and fraction of a bfloat16.
pub(super) const SIGN_AND_FRACTION: u32 = 0x807f_0000;
/// One of so many numbers may be kept apart; where there are more, sixteen bits are better.
const RARE: usize = 512;
/// So many tiles are looked at to know it.
const TRIED: usize = 4;
/// Exponents are counted of one of so many numbers.
const COUNTED: usize = 4;

/// Packs up to 16 stored rows, given the bytes of a row, into a tile of zeros.
pub(crate) type PackTwelve = unsafe fn(&[u8], usize, &mut [u8]) -> Beside;

/// What a tile needs beside its bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Number `n` of an exponent stands for `base + n`, number 0 for 0.
    base: u32,
    /// By column, then by row; their places in the tile hold zeros.
    apart: Box<[Apart]>,
}

/// A number with an exponent of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Apart {
    pub(super) column: u32,
    row: u16,
    bits: u16,
}

impl Apart {
    /// Writes it where it belongs in numbers of 16 rows, column after column, of which `first` is the first one.
    #[inline(always)]
    pub(super) fn write(self, first: usize, columns: &mut [f32]) {
        let column = self.column as usize - first;
        columns[column * TILE_ROWS + usize::from(self.row)] = widen(u32::from(self.bits));
    }
}

#[inline(always)]
fn widen(bits: u32) -> f32 {
    f32::from_bits(bits << 16)
}

impl Beside {
    /// What the numbers of exponents stand for, as powers of two.
    #[inline(always)]
    pub(super) fn powers(&self) -> [f32; TILE_ROWS] {
        let mut powers = [0.0; TILE_ROWS];
        for (n, power) in powers.iter_mut().enumerate().skip(1) {
            *power = f32::from_bits((self.base + n as u32) << 23);
        }
        powers
    }

    /// The numbers kept apart from column `first` on, by column.
    #[inline(always)]
    pub(super) fn apart_from(&self, first: usize) -> &[Apart] {
        &self.apart[self.apart.partition_point(|it| (it.column as usize) < first)..]
    }

    /// In bytes, without itself.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.apart)
    }

    /// The number of a row and column of the tile.
    pub(super) fn number(&self, tile: &[u8], row: usize, column: usize) -> f32 {
        let place = (column as u32, row as u16);
        match self.apart.binary_search_by_key(&place, |it| (it.column, it.row)) {
            Ok(at) => widen(u32::from(self.apart[at].bits)),
            Err(_) => self.common(tile, row, column),
        }
    }

    /// The same if it is not kept apart.
    #[inline(always)]
    fn common(&self, tile: &[u8], row: usize, column: usize) -> f32 {
        let octet = &tile[column / COLS * OCTET..][..OCTET];
        let word = |vector: usize| {
            u32::from_le_bytes([0, 1, 2, 3].map(|byte| octet[vector * VECTOR + 4 * row + byte]))
        };
        let at = column % COLS;
        let fraction = word(at / 4).rotate_left(8 * (at as u32 % 4)) & SIGN_AND_FRACTION;
        let exponent = match word(2) >> (4 * at) & 15 {
            0 => 0,
            number => self.base + number,
        };
        f32::from_bits(fraction | exponent << 23)
    }

    /// Turns row `row` of the tile into numbers.
    pub(super) fn dequantize(&self, tile: &[u8], row: usize, out: &mut [f32]) {
        for (column, out) in out.iter_mut().enumerate() {
            *out = self.common(tile, row, column);
        }
        for apart in self.apart.iter().filter(|it| usize::from(it.row) == row) {
            out[apart.column as usize] = widen(u32::from(apart.bits));
        }
    }
}

impl WeightRows<'_> {
    /// The stored rows of tile `at`.
    pub(super) fn rows_of_tile(&self, row_bytes: usize, at: usize) -> &[u8] {
        let first = at * TILE_ROWS;
        &self.bytes[first * row_bytes..self.rows.min(first + TILE_ROWS) * row_bytes]
    }
}

/// Whether twelve bits are enough for nearly all numbers of a stack of matrices: judged by a few tiles.
pub(super) fn suits(parts: &[WeightRows<'_>], row_bytes: usize) -> bool {
    let Some(w) = parts.first() else { return false };
    let tiles = w.rows.div_ceil(TILE_ROWS);
    let tried = TRIED.min(parts.len() * tiles);
    let (mut apart, mut all) = (0, 0);
    for at in 0..tried {
        let at = at * parts.len() * tiles / tried;
        let rows = parts[at / tiles].rows_of_tile(row_bytes, at % tiles);
        let (base, numbers) = (base_of(rows), rows.as_chunks::<2>().0);
        let are_apart = numbers.iter().filter(|it| is_apart(u16::from_le_bytes(**it).into(), base));
        apart += are_apart.count();
        all += numbers.len();
    }
    apart * RARE <= all
}

/// Fills a tile; in rows and columns that are missing with zeros.
#[inline(always)]
pub(super) fn pack_tile(rows: &[u8], row_bytes: usize, tile: &mut [u8]) -> Beside {
    let base = base_of(rows);
    let mut apart = Vec::new();
    for (at, octet) in tile.as_chunks_mut::<OCTET>().0.iter_mut().enumerate() {
        let numbers = columns(rows, row_bytes, at);
        if write(&numbers, base, octet) {
            for (c, column) in numbers.iter().enumerate() {
                for (row, bits) in column.iter().enumerate() {
                    if is_apart(*bits, base) {
                        let column = (at * COLS + c) as u32;
                        apart.push(Apart { column, row: row as u16, bits: *bits as u16 });
                    }
                }
            }
        }
    }
    Beside { base, apart: apart.into() }
}

/// The exponent before the fifteen that most numbers have.
#[inline(always)]
fn base_of(rows: &[u8]) -> u32 {
    let mut counts = [0u32; 256];
    for number in rows.as_chunks::<2>().0.iter().step_by(COUNTED) {
        counts[usize::from(u16::from_le_bytes(*number) >> 7 & 0xff)] += 1;
    }
    let mut best = (0, 0);
    for base in 0..=counts.len() - 1 - EXPONENTS as usize {
        let count = counts[base + 1..][..EXPONENTS as usize].iter().sum::<u32>();
        if count >= best.0 {
            best = (count, base as u32);
        }
    }
    best.1
}

/// Octet `at` of the stored rows, column by column.
#[inline(always)]
fn columns(rows: &[u8], row_bytes: usize, at: usize) -> [[u32; TILE_ROWS]; COLS] {
    let mut columns = [[0; TILE_ROWS]; COLS];
    for (row, stored) in rows.chunks_exact(row_bytes).enumerate() {
        let mut numbers = [0; 2 * COLS];
        // The last block goes on behind the end of the row.
        let there = stored.get(at * numbers.len()..).unwrap_or_default();
        let there = &there[..there.len().min(numbers.len())];
        match there.as_array() {
            Some(there) => numbers = *there,
            None => numbers[..there.len()].copy_from_slice(there),
        }
        for (column, number) in columns.iter_mut().zip(numbers.as_chunks::<2>().0) {
            column[row] = u32::from(u16::from_le_bytes(*number));
        }
    }
    columns
}

#[inline(always)]
fn is_apart(bits: u32, base: u32) -> bool {
    let exponent = bits >> 7 & 0xff;
    exponent != 0 && exponent.wrapping_sub(base + 1) >= EXPONENTS
}

/// Writes an octet, zeros for what is kept apart; whether there is such.
#[inline(always)]
fn write(numbers: &[[u32; TILE_ROWS]; COLS], base: u32, octet: &mut [u8; OCTET]) -> bool {
    let mut planes = [[0u32; TILE_ROWS]; 3];
    let mut apart = [false; TILE_ROWS];
    for (c, column) in numbers.iter().enumerate() {
        for row in 0..TILE_ROWS {
            let is_apart = is_apart(column[row], base);
            let bits = if is_apart { 0 } else { column[row] };
            let exponent = bits >> 7 & 0xff;
            let number = if exponent == 0 { 0 } else { exponent - base };
            let fraction = bits << 16 & SIGN_AND_FRACTION;
            planes[c / 4][row] |= fraction.rotate_right(8 * (c as u32 % 4));
            planes[2][row] |= number << (4 * c);
            apart[row] |= is_apart;
        }
    }
    for (to, word) in octet.as_chunks_mut::<4>().0.iter_mut().zip(planes.as_flattened()) {
        *to = word.to_le_bytes();
    }
    apart.contains(&true)
}
