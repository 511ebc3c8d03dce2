//! Formats whose magnitudes are 8, 25 and 43 eighths, 256 weights in a block, `w = ± d * (2 scale + 1) * magnitude`;
//! eight neighbors are one of some combinations.
//!
//! IQ2_XXS, 66 bytes: `d` f16; eight bytes for each group of 32: the numbers of four combinations of 256, then a word
//! of 32 bits with seven signs for each of them, from the lowest bits on (the eighth makes their number even), and four
//! bits of scale. Source: ggml `block_iq2_xxs`.
//!
//! IQ2_XS, 74 bytes: `d` f16; 32 words of 16 bits, each nine bits of a combination's number and seven of signs; eight
//! bytes with a nibble of scale for each group of 16, the low one first. Source: ggml `block_iq2_xs`.
//!
//! IQ2_S, 82 bytes: `d` f16; 32 bytes with the low eight bits of the combinations' numbers; 32 bytes of signs; eight
//! bytes with the high two bits of the numbers, from the lowest bits on; scales as above. Source: ggml `block_iq2_s`.

use super::grid::{self, Values, even_signs, read, take_codes};
use super::{Format, Integers, Integral};

/// 2.06 bits a weight, with a 4-bit scale per 32.
pub(crate) struct Iq2Xxs;
/// 2.31 bits a weight, with a 4-bit scale per 16.
pub(crate) struct Iq2Xs;
/// 2.56 bits a weight, with a 4-bit scale per 16.
pub(crate) struct Iq2S;

/// Magnitudes, then the same with a sign.
pub(crate) const VALUES: Values =
    Values { of_codes: [8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0], unit: 0.125 };

static XXS: &[u8; 2 * 256] = include_bytes!("grids/IQ2_XXS.bin");
static XS: &[u8; 2 * 512] = include_bytes!("grids/IQ2_XS.bin");
static S: &[u8; 2 * 1024] = include_bytes!("grids/IQ2_S.bin");

/// The scales of all groups of 16.
#[inline(always)]
fn scales(bytes: &[u8]) -> [i8; 16] {
    std::array::from_fn(|g| (2 * (bytes[g / 2] >> (g % 2 * 4) & 15) + 1) as i8)
}

impl Integral<66, 256> for Iq2Xxs {
    #[inline(always)]
    fn integers(block: &[u8; 66], out: &mut Integers) {
        let [d0, d1, groups @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        let groups = groups.as_chunks::<8>().0.iter().zip(out.codes.as_chunks_mut::<32>().0);
        for ((group, codes), scale) in groups.zip(&mut out.scales) {
            let [numbers @ .., w0, w1, w2, w3] = group;
            let word = u32::from_le_bytes([*w0, *w1, *w2, *w3]);
            *scale = (2 * (word >> 28) + 1) as i8;
            for (l, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let magnitudes = grid::word(XXS, usize::from(numbers[l]));
                take_codes::<2>(magnitudes, even_signs(word >> (7 * l)), codes);
            }
        }
    }
}

impl Integral<74, 256> for Iq2Xs {
    #[inline(always)]
    fn integers(block: &[u8; 74], out: &mut Integers) {
        let [d0, d1, rest @ ..] = block;
        let (words, packed) = rest.split_at(64);
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.scales = scales(packed);
        let eights = out.codes.as_chunks_mut::<8>().0.iter_mut();
        for (codes, word) in eights.zip(words.as_chunks::<2>().0) {
            let word = u16::from_le_bytes(*word);
            let magnitudes = grid::word(XS, usize::from(word & 511));
            take_codes::<2>(magnitudes, even_signs(u32::from(word >> 9)), codes);
        }
    }
}

impl Integral<82, 256> for Iq2S {
    #[inline(always)]
    fn integers(block: &[u8; 82], out: &mut Integers) {
        let [d0, d1, rest @ ..] = block;
        let (low, rest) = rest.split_at(32);
        let (signs, rest) = rest.split_at(32);
        let (high, packed) = rest.split_at(8);
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.scales = scales(packed);
        for (j, codes) in out.codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let high = usize::from(high[j / 4] >> (j % 4 * 2) & 3);
            let magnitudes = grid::word(S, usize::from(low[j]) | high << 8);
            take_codes::<2>(magnitudes, signs[j], codes);
        }
    }
}

read!(Iq2Xxs, 66, VALUES, 32);
read!(Iq2Xs, 74, VALUES, 16);
read!(Iq2S, 82, VALUES, 16);
