//! Formats with eight magnitudes, 256 weights in a block, `w = ± d * (2 scale + 1) * magnitude`; four neighbors are one
//! of some combinations, and each group of 32 has a scale.
//!
//! IQ3_XXS, 98 bytes, magnitudes of 4 to 62 quarters: `d` f16; 64 bytes with the numbers of the combinations, of 256;
//! for each group a word of 32 bits with seven signs for each eight weights, from the lowest bits on (the eighth makes
//! their number even), and four bits of scale. Source: ggml `block_iq3_xxs`.
//!
//! IQ3_S, 110 bytes, magnitudes of 1 to 15: `d` f16; 64 bytes with the low eight bits of the combinations' numbers; a
//! byte for each group with the ninth bits; 32 bytes of signs; four bytes with a nibble of scale for each group, the
//! low one first. Source: ggml `block_iq3_s`.

use super::grid::{self, Values, even_signs, read, take_codes};
use super::{Format, Integers, Integral};

/// 3.06 bits a weight.
pub(crate) struct Iq3Xxs;
/// 3.44 bits a weight.
pub(crate) struct Iq3S;

/// Magnitudes, then the same with a sign.
pub(crate) const XXS_VALUES: Values = Values {
    of_codes: [4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62],
    unit: 0.25,
};
/// The same of IQ3_S.
pub(crate) const S_VALUES: Values =
    Values { of_codes: [1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15], unit: 1.0 };

static XXS: &[u8; 2 * 256] = include_bytes!("grids/IQ3_XXS.bin");
static S: &[u8; 2 * 512] = include_bytes!("grids/IQ3_S.bin");

impl Integral<98, 256> for Iq3Xxs {
    #[inline(always)]
    fn integers(block: &[u8; 98], out: &mut Integers) {
        let [d0, d1, rest @ ..] = block;
        let (numbers, words) = rest.split_at(64);
        out.d = u16::from_le_bytes([*d0, *d1]);
        let words = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        for (g, word) in words.enumerate() {
            out.scales[g] = (2 * (word >> 28) + 1) as i8;
            for (k, codes) in
                out.codes[32 * g..][..32].as_chunks_mut::<4>().0.iter_mut().enumerate()
            {
                let signs = even_signs(word >> (k / 2 * 7)) >> (k % 2 * 4);
                let magnitudes = grid::word(XXS, usize::from(numbers[8 * g + k]));
                take_codes::<3>(magnitudes, signs, codes);
            }
        }
    }
}

impl Integral<110, 256> for Iq3S {
    #[inline(always)]
    fn integers(block: &[u8; 110], out: &mut Integers) {
        let [d0, d1, rest @ ..] = block;
        let (low, rest) = rest.split_at(64);
        let (high, rest) = rest.split_at(8);
        let (signs, scales) = rest.split_at(32);
        out.d = u16::from_le_bytes([*d0, *d1]);
        for g in 0..8 {
            out.scales[g] = (2 * (scales[g / 2] >> (g % 2 * 4) & 15) + 1) as i8;
        }
        for (k, codes) in out.codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let high = usize::from(high[k / 8] >> (k % 8) & 1);
            let magnitudes = grid::word(S, usize::from(low[k]) | high << 8);
            take_codes::<3>(magnitudes, signs[k / 2] >> (k % 2 * 4), codes);
        }
    }
}

read!(Iq3Xxs, 98, XXS_VALUES, 32);
read!(Iq3S, 110, S_VALUES, 32);
