//! IQ4_NL: 32 weights in 18 bytes, `w = d * VALUES[q]`.
//! Layout: `d` f16; 16 bytes, byte `j` holds weight `j` in its low and `j + 16` in its high nibble.
//! Source: ggml `block_iq4_nl` and its table of values.

use super::fit::{inverse, nearest_of, scale_of_values};
use super::grid::Values;
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable};

/// 4-bit weights with a scale; the integers lie closer to each other near zero.
pub(crate) struct Iq4Nl;

/// What the sixteen codes of both formats of this kind stand for.
pub(crate) const VALUES: Values = Values {
    of_codes: [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    unit: 1.0,
};

impl Format<18, 32> for Iq4Nl {
    #[inline(always)]
    fn dequantize(block: &[u8; 18], out: &mut [f32; 32]) {
        let [d0, d1, nibbles @ ..] = block;
        let d = read_scale(*d0, *d1);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(nibbles) {
            *low = d * f32::from(VALUES.of_codes[usize::from(byte & 15)]);
            *high = d * f32::from(VALUES.of_codes[usize::from(byte >> 4)]);
        }
    }
}

impl Writable<18, 32> for Iq4Nl {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 18]) {
        let d = nearest_scale(scale_of_values(x, &VALUES.of_codes));
        block[..2].copy_from_slice(&d.to_le_bytes());
        quantize_nibbles(x, d.to_f32(), &mut block[2..]);
    }
}

impl Integral<18, 32> for Iq4Nl {
    #[inline(always)]
    fn integers(block: &[u8; 18], out: &mut Integers) {
        let [d0, d1, nibbles @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        take_nibbles(nibbles, &mut out.codes);
    }
}

/// The nearest of what the scale allows.
#[inline(always)]
pub(super) fn quantize_nibbles(x: &[f32; 32], scale: f32, nibbles: &mut [u8]) {
    let inverse = inverse(scale);
    let code = |x: f32| nearest_of(x * inverse, &VALUES.of_codes);
    for (j, byte) in nibbles.iter_mut().enumerate() {
        *byte = code(x[j]) | code(x[j + 16]) << 4;
    }
}

/// The codes of 32 weights.
#[inline(always)]
pub(super) fn take_nibbles(nibbles: &[u8; 16], codes: &mut [u8]) {
    for (j, byte) in nibbles.iter().enumerate() {
        codes[j] = byte & 15;
        codes[j + 16] = byte >> 4;
    }
}
