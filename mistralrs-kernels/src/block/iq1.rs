//! Formats whose magnitudes are -1, 0 and 1, all moved by an eighth up or down, 256 weights in a block,
//! `w = d * (2 scale + 1) * (magnitude ± 1/8)`; eight neighbors are one of 2048 combinations.
//!
//! IQ1_S, 50 bytes: `d` f16; 32 bytes with the low eight bits of the combinations' numbers; eight words of 16 bits,
//! one for each group of 32, with the high three bits of its four combinations, from the lowest bits on, then three
//! bits of scale, and above them whether it is moved down. Source: ggml `block_iq1_s`.
//!
//! IQ1_M, 56 bytes: 32 bytes as above; 16 bytes with a nibble for each combination: the high three bits of its
//! number, and above them whether it is moved down; four words of 16 bits with four scales of three bits, one for
//! each group of 16, and above them four bits of `d`, the lowest first. Source: ggml `block_iq1_m`.

use super::grid::{self, Values, read, take_codes};
use super::{Format, Integers, Integral};

/// 1.56 bits a weight, with a 3-bit scale per 32.
pub(crate) struct Iq1S;
/// 1.75 bits a weight, with a 3-bit scale per 16.
pub(crate) struct Iq1M;

/// In eighths: moved up, then down.
pub(crate) const VALUES: Values =
    Values { of_codes: [-7, 1, 9, 0, -9, -1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0], unit: 0.125 };

static GRID: &[u8; 2 * 2048] = include_bytes!("grids/IQ1_S.bin");

/// The eight codes of a combination with these bits of its number, moved down or not.
#[inline(always)]
fn take_eight(low: u8, high: u16, is_down: bool, codes: &mut [u8]) {
    let at = usize::from(low) | usize::from(high & 7) << 8;
    take_codes::<2>(grid::word(GRID, at), if is_down { 0xff } else { 0 }, codes);
}

impl Integral<50, 256> for Iq1S {
    #[inline(always)]
    fn integers(block: &[u8; 50], out: &mut Integers) {
        let [d0, d1, rest @ ..] = block;
        let (low, words) = rest.split_at(32);
        out.d = u16::from_le_bytes([*d0, *d1]);
        let groups = out.codes.as_chunks_mut::<32>().0.iter_mut().zip(words.as_chunks::<2>().0);
        for (g, (codes, word)) in groups.enumerate() {
            let word = u16::from_le_bytes(*word);
            out.scales[g] = (2 * (word >> 12 & 7) + 1) as i8;
            for (l, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                take_eight(low[4 * g + l], word >> (3 * l), word >> 15 == 1, codes);
            }
        }
    }
}

impl Integral<56, 256> for Iq1M {
    #[inline(always)]
    fn integers(block: &[u8; 56], out: &mut Integers) {
        let (low, rest) = block.split_at(32);
        let (nibbles, words) = rest.split_at(16);
        let words = words.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
        out.d = 0;
        for (at, word) in words.enumerate() {
            out.d |= word >> 12 << (4 * at);
            for (k, scale) in out.scales[4 * at..][..4].iter_mut().enumerate() {
                *scale = (2 * (word >> (3 * k) & 7) + 1) as i8;
            }
        }
        for (j, codes) in out.codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let nibble = nibbles[j / 2] >> (j % 2 * 4) & 15;
            take_eight(low[j], u16::from(nibble), nibble >> 3 == 1, codes);
        }
    }
}

read!(Iq1S, 50, VALUES, 32);
read!(Iq1M, 56, VALUES, 16);
