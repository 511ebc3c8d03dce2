//! What IQ formats share: tables of values and, of those with less than four bits, combinations. Eight or four
//! neighboring weights are one of some hundred combinations of magnitudes, and each weight has a sign. A combination is
//! a 16-bit word with the magnitudes' numbers, from the lowest bits on; `scripts/make_grids.py` writes the words. Knows
//! no format.

use super::half_float::f16_to_f32;
use super::{Integers, keep_apart};

/// What the codes of a format stand for.
#[derive(Debug)]
pub(crate) struct Values {
    /// In units. Where weights are combinations, a code has the number of a magnitude, and above it the sign.
    pub(crate) of_codes: [i8; 16],
    /// What is multiplied with a block's scale.
    pub(crate) unit: f32,
}

/// Word `at` of a grid; there are as many as the index has values.
#[inline(always)]
pub(super) fn word(grid: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([grid[2 * at], grid[2 * at + 1]])
}

/// The codes of a combination of magnitudes with numbers of `BITS` bits, and of their signs from the lowest bit on.
#[inline(always)]
pub(super) fn take_codes<const BITS: u32>(word: u16, signs: u8, codes: &mut [u8]) {
    for (j, code) in codes.iter_mut().enumerate() {
        let number = word >> (BITS * j as u32) & ((1 << BITS) - 1);
        *code = number as u8 | (signs >> j & 1) << BITS;
    }
}

/// Eight signs of which seven are stored: an even number of them is set.
#[inline(always)]
pub(super) fn even_signs(seven: u32) -> u8 {
    let seven = seven & 0x7f;
    (seven | (seven.count_ones() & 1) << 7) as u8
}

/// Turns what a block was taken apart into to numbers; `group` of them share a scale.
#[inline(always)]
pub(super) fn dequantize(from: &Integers, values: &Values, group: usize, out: &mut [f32; 256]) {
    let d = f16_to_f32(from.d) * values.unit;
    let groups = from.codes.chunks_exact(group).zip(out.chunks_exact_mut(group));
    for ((codes, out), scale) in groups.zip(from.scales) {
        let scale = d * f32::from(scale);
        for (code, out) in codes.iter().zip(out) {
            *out = scale * f32::from(values.of_codes[usize::from(code & 15)]);
        }
        keep_apart();
    }
}

/// Reads a format of values and groups by way of its integers.
macro_rules! read {
    ($format:ident, $bytes:literal, $values:ident, $group:literal) => {
        impl Format<$bytes, 256> for $format {
            #[inline(always)]
            fn dequantize(block: &[u8; $bytes], out: &mut [f32; 256]) {
                let mut integers = Integers::new();
                Self::integers(block, &mut integers);
                grid::dequantize(&integers, &$values, $group, out);
            }
        }
    };
}
pub(super) use read;
