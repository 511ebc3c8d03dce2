//! Q4_0: 32 weights in 18 bytes, `w = d * (q - 8)`.
//! Layout: `d` f16; 16 bytes, byte `j` holds weight `j` in its low and `j + 16` in its high nibble.
//! Source: ggml `block_q4_0`.

use super::fit::{inverse, largest, nearest_index};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable};

/// 4-bit weights with a scale.
pub(crate) struct Q40;

impl Format<18, 32> for Q40 {
    #[inline(always)]
    fn dequantize(block: &[u8; 18], out: &mut [f32; 32]) {
        let [d0, d1, nibbles @ ..] = block;
        let d = read_scale(*d0, *d1);
        let (low, high) = out.split_at_mut(16);
        for (out, byte) in low.iter_mut().zip(nibbles) {
            *out = (i32::from(byte & 15) - 8) as f32 * d;
        }
        for (out, byte) in high.iter_mut().zip(nibbles) {
            *out = (i32::from(byte >> 4) - 8) as f32 * d;
        }
    }
}

impl Writable<18, 32> for Q40 {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 18]) {
        // The range is -8..=7, so the weight of largest magnitude goes to -8 whatever its sign.
        let d = nearest_scale(largest(x) / -8.0);
        let inverse = inverse(d.to_f32());
        let index = |x: f32| nearest_index(x * inverse + 8.0, 15.0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        for j in 0..16 {
            block[2 + j] = index(x[j]) | index(x[j + 16]) << 4;
        }
    }
}

impl Integral<18, 32> for Q40 {
    #[inline(always)]
    fn integers(block: &[u8; 18], out: &mut Integers) {
        let [d0, d1, nibbles @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        for (j, byte) in nibbles.iter().enumerate() {
            out.codes[j] = byte & 15;
            out.codes[j + 16] = byte >> 4;
        }
    }
}
