//! How packed weights lie in memory, and the way there and back. Knows stored formats; no products.
//! Nothing is rounded: integers and scales are those of the stored block.

use super::floats::Floats;
use super::{twelve, with_format};
use crate::block::{
    IQ1_VALUES, IQ2_VALUES, IQ3_S_VALUES, IQ3_XXS_VALUES, IQ4_VALUES, Integers, Iq1M, Iq1S, Iq2S,
    Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Iq4Nl, Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K, Q40, Q41, Q50, Q51, Q80,
    Values, f16_to_f32, keep_apart,
};
use crate::quant_type::QuantType;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;
/// Columns of a block.
pub(crate) const BLOCK_COLS: usize = 32;
/// Columns of a chunk whose blocks share a scale.
pub(crate) const CHUNK_COLS: usize = 256;
/// Bytes of a group's vector.
pub(crate) const VECTOR: usize = 64;

/// What a tile of some format is made of.
///
/// A tile is 16 rows; it runs along all columns in chunks of 32 columns, or of 256 where a format
/// shares a scale among 256 weights. A chunk is `[halves of 256 weights][block]..`, a block of 32
/// columns is `[planes][scales][mins]`. The 32 columns are eight groups of four; a group of all 16
/// rows is one vector of 64 bytes, byte `4 row + column`. Planes hold the bits of the integers:
/// - nibbles, 4 vectors: group `v` in the low and `v + 4` in the high half of vector `v`;
/// - pairs, 2 vectors: group `g` at bit `2 (g / 2)` of vector `g % 2`;
/// - singles, 1 vector: group `g` at bit `g`;
/// - or whole bytes, 8 vectors.
///
/// A block of floats has its columns one after the other instead: see [`Floats`]. Behind the last column
/// of a row of floats, zeros fill the block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Floats; none of what follows.
    pub(crate) floats: Option<Floats>,
    /// Floats of 16 bits in twelve: see [`super::twelve`].
    pub(crate) twelve: bool,
    /// A plane of four bits.
    pub(crate) nibbles: bool,
    /// A plane of two bits, above the nibbles if there are any.
    pub(crate) pairs: bool,
    /// A plane of one bit, above the others.
    pub(crate) singles: bool,
    /// Whether the integers of the planes are looked up: what they stand for, plus 128, is a byte.
    pub(crate) looked_up: bool,
    /// Where; no matter to what a kernel is compiled for.
    pub(crate) values: &'static Values,
    /// Which integer means zero; 0 if an offset decides.
    pub(crate) zero: i32,
    /// Whether weights have an offset.
    pub(crate) mins: bool,
    /// Whether 16 columns have a scale of their own, not 32.
    pub(crate) halves: bool,
    /// Whether scales are bytes, times a half for 256 columns.
    pub(crate) grouped: bool,
}

impl Layout {
    /// Bytes of a block's integers.
    pub(crate) const fn plane_bytes(&self) -> usize {
        if self.twelve {
            return BLOCK_COLS / twelve::COLS * twelve::OCTET;
        }
        if let Some(floats) = self.floats {
            return floats.block_bytes();
        }
        let vectors = self.nibbles as usize * 4 + self.pairs as usize * 2 + self.singles as usize;
        if vectors == 0 { 8 * VECTOR } else { vectors * VECTOR }
    }

    /// Whether weights take whole bytes, once they are looked up.
    pub(crate) const fn are_bytes(&self) -> bool {
        self.looked_up || self.plane_bytes() == 8 * VECTOR
    }

    /// Where the plane of pairs begins.
    pub(crate) const fn pairs_at(&self) -> usize {
        self.nibbles as usize * 4 * VECTOR
    }

    /// Where the plane of single bits begins.
    pub(crate) const fn singles_at(&self) -> usize {
        self.pairs_at() + self.pairs as usize * 2 * VECTOR
    }

    /// Which bit of an integer the pairs begin at.
    pub(crate) const fn pair_bit(&self) -> usize {
        self.nibbles as usize * 4
    }

    /// Which bit of an integer the plane of single bits is.
    pub(crate) const fn single_bit(&self) -> usize {
        self.pair_bit() + self.pairs as usize * 2
    }

    /// Scales of a row in a block.
    pub(crate) const fn scales(&self) -> usize {
        if self.floats.is_some() { 0 } else { 1 + self.halves as usize }
    }

    /// Bytes of a scale of all rows.
    pub(crate) const fn scale_bytes(&self) -> usize {
        if self.grouped { TILE_ROWS } else { 2 * TILE_ROWS }
    }

    /// Bytes of a block.
    pub(crate) const fn block_bytes(&self) -> usize {
        self.plane_bytes() + self.scale_bytes() * self.scales() * (1 + self.mins as usize)
    }

    /// Bytes of the halves before a chunk's blocks.
    pub(crate) const fn head_bytes(&self) -> usize {
        if self.grouped { 2 * TILE_ROWS * (1 + self.mins as usize) } else { 0 }
    }

    /// Blocks of a chunk.
    pub(crate) const fn chunk_blocks(&self) -> usize {
        if self.grouped { 8 } else { 1 }
    }

    /// Bytes of a chunk.
    pub(crate) const fn chunk_bytes(&self) -> usize {
        self.head_bytes() + self.chunk_blocks() * self.block_bytes()
    }
}

/// A stored format that can be packed.
pub(crate) trait Packing {
    /// What kernels are compiled for: formats that differ in what codes stand for share one.
    type Kind: Packing;
    /// How.
    const LAYOUT: Layout;
}

const PLAIN: Layout = Layout {
    floats: None,
    twelve: false,
    nibbles: false,
    pairs: false,
    singles: false,
    looked_up: false,
    values: &Values { of_codes: [0; 16], unit: 1.0 },
    zero: 0,
    mins: false,
    halves: false,
    grouped: false,
};

/// Four bits that are looked up, a half for 32 columns.
pub(crate) struct SingleFours;
/// Four bits that are looked up, a byte of scale for 32 columns.
pub(crate) struct Fours;
/// Three bits that are looked up, a byte of scale for 32 columns.
pub(crate) struct Threes;
/// Three bits that are looked up, a byte of scale for 16 columns.
pub(crate) struct HalvedThrees;

macro_rules! packings {
    ($($format:ident: { $($field:ident: $value:expr),* }),* $(,)?) => {
        $(impl Packing for $format {
            type Kind = Self;
            const LAYOUT: Layout = Layout { $($field: $value,)* ..PLAIN };
        })*
    };
}

packings! {
    Q40: { nibbles: true, zero: 8 },
    Q41: { nibbles: true, mins: true },
    Q50: { nibbles: true, singles: true, zero: 16 },
    Q51: { nibbles: true, singles: true, mins: true },
    Q80: { zero: 128 },
    Q2K: { pairs: true, mins: true, halves: true, grouped: true },
    Q3K: { pairs: true, singles: true, zero: 4, halves: true, grouped: true },
    Q4K: { nibbles: true, mins: true, grouped: true },
    Q5K: { nibbles: true, singles: true, mins: true, grouped: true },
    Q6K: { nibbles: true, pairs: true, zero: 32, halves: true, grouped: true },
    SingleFours: { nibbles: true, looked_up: true, zero: 128 },
    Fours: { nibbles: true, looked_up: true, zero: 128, grouped: true },
    Threes: { pairs: true, singles: true, looked_up: true, zero: 128, grouped: true },
    HalvedThrees: {
        pairs: true, singles: true, looked_up: true, zero: 128, halves: true, grouped: true
    },
}

macro_rules! looked_up {
    ($($format:ident: $kind:ident $values:ident),* $(,)?) => {
        $(impl Packing for $format {
            type Kind = $kind;
            const LAYOUT: Layout = Layout { values: &$values, ..$kind::LAYOUT };
        })*
    };
}

looked_up! {
    Iq4Nl: SingleFours IQ4_VALUES,
    Iq4Xs: Fours IQ4_VALUES,
    Iq3S: Fours IQ3_S_VALUES,
    Iq3Xxs: Fours IQ3_XXS_VALUES,
    Iq2S: HalvedThrees IQ2_VALUES,
    Iq2Xs: HalvedThrees IQ2_VALUES,
    Iq2Xxs: Threes IQ2_VALUES,
    Iq1M: HalvedThrees IQ1_VALUES,
    Iq1S: Threes IQ1_VALUES,
}

impl Layout {
    /// How a type is packed, if it is.
    pub(crate) fn of(ty: QuantType) -> Option<Self> {
        match Floats::of(ty) {
            Some(floats) => Some(Self { floats: Some(floats), ..PLAIN }),
            None => with_format!(ty, Format, <Format as Packing>::LAYOUT),
        }
    }

    /// Writes all rows of a chunk; rows that are missing are zeros.
    #[inline(always)]
    pub(crate) fn write(&self, chunk: &mut [u8], rows: &[Integers; TILE_ROWS]) {
        let (head, blocks) = chunk.split_at_mut(self.head_bytes());
        if self.grouped {
            self.write_halves(head, rows);
        }
        for (b, block) in blocks.chunks_exact_mut(self.block_bytes()).enumerate() {
            let (planes, scales) = block.split_at_mut(self.plane_bytes());
            self.write_planes(planes, &groups(rows, b));
            match self.grouped {
                true => self.write_scales(scales, rows, b),
                false => self.write_halves(scales, rows),
            }
        }
    }

    /// Writes the groups of a block, each a vector of all rows.
    #[inline(always)]
    fn write_planes(&self, planes: &mut [u8], groups: &[[u32; TILE_ROWS]; 8]) {
        let vectors = planes.as_chunks_mut::<VECTOR>().0;
        let mut write = |vector: usize, words: [u32; TILE_ROWS]| {
            for (to, word) in vectors[vector].as_chunks_mut::<4>().0.iter_mut().zip(words) {
                *to = word.to_le_bytes();
            }
        };
        let bits = |row: usize, g: usize, from: usize, mask: u32| {
            (groups[g][row] >> from) & (mask * 0x0101_0101)
        };
        if self.plane_bytes() == 8 * VECTOR {
            groups.iter().enumerate().for_each(|(g, words)| write(g, *words));
        }
        if self.nibbles {
            for v in 0..4 {
                write(v, each_row(|row| bits(row, v, 0, 15) | bits(row, v + 4, 0, 15) << 4));
            }
        }
        if self.pairs {
            for v in 0..2 {
                let word = |row| {
                    let four = (0..4).map(|k| bits(row, v + 2 * k, self.pair_bit(), 3) << (2 * k));
                    four.fold(0, |a, b| a | b)
                };
                write(self.pairs_at() / VECTOR + v, each_row(word));
            }
        }
        if self.singles {
            let word = |row| {
                let eight = (0..8).map(|g| bits(row, g, self.single_bit(), 1) << g);
                eight.fold(0, |a, b| a | b)
            };
            write(self.singles_at() / VECTOR, each_row(word));
        }
    }

    /// Writes the scales of all rows that are halves, then what else is one.
    #[inline(always)]
    fn write_halves(&self, out: &mut [u8], rows: &[Integers; TILE_ROWS]) {
        for (row, from) in rows.iter().enumerate() {
            put(out, 2 * row, from.d.to_le_bytes());
            if self.mins {
                put(out, 2 * (TILE_ROWS + row), from.m.to_le_bytes());
            }
            keep_apart();
        }
    }

    /// Writes the integer scales of block `b` of all rows, then their offsets.
    #[inline(always)]
    fn write_scales(&self, out: &mut [u8], rows: &[Integers; TILE_ROWS], b: usize) {
        for half in 0..self.scales() {
            let group = b * self.scales() + half;
            for (row, from) in rows.iter().enumerate() {
                out[half * TILE_ROWS + row] = from.scales[group] as u8;
                if self.mins {
                    out[(self.scales() + half) * TILE_ROWS + row] = from.mins[group];
                }
                keep_apart();
            }
        }
    }

    /// Reads the integers of row `row` of a block.
    #[inline(always)]
    pub(crate) fn read_codes(&self, block: &[u8], row: usize) -> [u8; BLOCK_COLS] {
        let word = |vector: usize| {
            u32::from_le_bytes([0, 1, 2, 3].map(|c| block[vector * VECTOR + 4 * row + c]))
        };
        let mut codes = [0; BLOCK_COLS];
        for (g, four) in codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let mut value = 0;
            if self.plane_bytes() == 8 * VECTOR {
                value = word(g);
            }
            if self.nibbles {
                value |= word(g % 4) >> (g / 4 * 4) & 0x0f0f_0f0f;
            }
            if self.pairs {
                let pairs = word(self.pairs_at() / VECTOR + g % 2) >> (g / 2 * 2) & 0x0303_0303;
                value |= pairs << self.pair_bit();
            }
            if self.singles {
                let singles = word(self.singles_at() / VECTOR) >> g & 0x0101_0101;
                value |= singles << self.single_bit();
            }
            *four = value.to_le_bytes();
            if self.looked_up {
                let value = |code: u8| self.values.of_codes[usize::from(code & 15)];
                *four = four.map(|code| value(code).cast_unsigned() ^ 0x80);
            }
        }
        codes
    }

    /// Block `b` of a chunk.
    pub(crate) fn block<'a>(&self, chunk: &'a [u8], b: usize) -> &'a [u8] {
        &chunk[self.head_bytes() + b * self.block_bytes()..][..self.block_bytes()]
    }

    /// Reads the scale and the offset of row `row` of a block that has halves: `weight = scale * (code - zero) +
    /// offset`.
    #[inline(always)]
    pub(crate) fn read_scale(&self, block: &[u8], row: usize) -> (f32, f32) {
        let scales = &block[self.plane_bytes()..];
        let min = if self.mins { half(scales, TILE_ROWS + row) } else { 0.0 };
        (half(scales, row), min)
    }

    /// Reads the integers that scale each half of row `row` in block `b` of a chunk, and those of the offsets.
    #[inline(always)]
    pub(crate) fn integer_scales(&self, chunk: &[u8], b: usize, row: usize) -> [(i32, i32); 2] {
        let scales = &self.block(chunk, b)[self.plane_bytes()..];
        [0, 1].map(|part| {
            let part = part % self.scales();
            let scale = i32::from(scales[part * TILE_ROWS + row] as i8);
            let min = (self.scales() + part) * TILE_ROWS + row;
            (scale, if self.mins { i32::from(scales[min]) } else { 0 })
        })
    }

    /// What a unit of the scales of row `row` of a chunk stands for, and of the offsets.
    #[inline(always)]
    pub(crate) fn units(&self, chunk: &[u8], row: usize) -> (f32, f32) {
        let min = if self.mins { -half(chunk, TILE_ROWS + row) } else { 0.0 };
        (half(chunk, row) * self.values.unit, min)
    }

    /// Turns row `row` of a tile into numbers, the same as the stored row's.
    pub(crate) fn dequantize(&self, tile: &[u8], row: usize, out: &mut [f32]) {
        let cols = self.chunk_blocks() * BLOCK_COLS;
        for (chunk, out) in tile.chunks_exact(self.chunk_bytes()).zip(out.chunks_mut(cols)) {
            if let Some(floats) = self.floats {
                for (column, out) in out.iter_mut().enumerate() {
                    *out = floats.number(chunk, row, column);
                }
                continue;
            }
            for (b, out) in out.as_chunks_mut::<BLOCK_COLS>().0.iter_mut().enumerate() {
                let block = self.block(chunk, b);
                let codes = self.read_codes(block, row);
                let scales = if self.grouped {
                    let (unit, unit_of_mins) = self.units(chunk, row);
                    let numbers = |(scale, min)| (unit * scale as f32, unit_of_mins * min as f32);
                    self.integer_scales(chunk, b, row).map(numbers)
                } else {
                    [self.read_scale(block, row); 2]
                };
                for (i, (out, code)) in out.iter_mut().zip(codes).enumerate() {
                    let (scale, min) = scales[i / 16];
                    let product = scale * (i32::from(code) - self.zero) as f32;
                    *out = if self.mins { product + min } else { product };
                }
            }
        }
    }
}

/// The groups of block `b`, four integers to a word, of all rows.
#[inline(always)]
fn groups(rows: &[Integers; TILE_ROWS], b: usize) -> [[u32; TILE_ROWS]; 8] {
    let mut groups = [[0; TILE_ROWS]; 8];
    for (row, from) in rows.iter().enumerate() {
        let words = from.codes[b * BLOCK_COLS..][..BLOCK_COLS].as_chunks::<4>().0;
        for (group, word) in groups.iter_mut().zip(words) {
            group[row] = u32::from_le_bytes(*word);
        }
        keep_apart();
    }
    groups
}

/// A word of each row. (A loop: what `array::from_fn` calls is compiled without the kernels' instructions.)
#[inline(always)]
fn each_row(word: impl Fn(usize) -> u32) -> [u32; TILE_ROWS] {
    let mut words = [0; TILE_ROWS];
    for (row, to) in words.iter_mut().enumerate() {
        *to = word(row);
    }
    words
}

/// Half number `at` of some.
#[inline(always)]
fn half(halves: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([halves[2 * at], halves[2 * at + 1]]))
}

#[inline(always)]
fn put<const N: usize>(to: &mut [u8], at: usize, bytes: [u8; N]) {
    to[at..at + N].copy_from_slice(&bytes);
}
