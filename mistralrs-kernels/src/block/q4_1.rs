//! Q4_1: 32 weights in 20 bytes, `w = d * q + m`.
//! Layout: `d` f16; `m` f16; 16 bytes, byte `j` holds weight `j` in its low and `j + 16` in its
//! high nibble. Source: ggml `block_q4_1`.

use super::fit::{inverse, nearest_index, range};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable};

/// 4-bit weights with a scale and an offset.
pub(crate) struct Q41;

impl Format<20, 32> for Q41 {
    #[inline(always)]
    fn dequantize(block: &[u8; 20], out: &mut [f32; 32]) {
        let [d0, d1, m0, m1, nibbles @ ..] = block;
        let (d, m) = (read_scale(*d0, *d1), read_scale(*m0, *m1));
        let (low, high) = out.split_at_mut(16);
        for (out, byte) in low.iter_mut().zip(nibbles) {
            *out = f32::from(byte & 15) * d + m;
        }
        for (out, byte) in high.iter_mut().zip(nibbles) {
            *out = f32::from(byte >> 4) * d + m;
        }
    }
}

impl Writable<20, 32> for Q41 {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 20]) {
        let (low, high) = range(x);
        let m = nearest_scale(low);
        let d = nearest_scale((high - m.to_f32()) / 15.0);
        let (inverse, low) = (inverse(d.to_f32()), m.to_f32());
        let index = |x: f32| nearest_index((x - low) * inverse, 15.0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&m.to_le_bytes());
        for j in 0..16 {
            block[4 + j] = index(x[j]) | index(x[j + 16]) << 4;
        }
    }
}

impl Integral<20, 32> for Q41 {
    #[inline(always)]
    fn integers(block: &[u8; 20], out: &mut Integers) {
        let [d0, d1, m0, m1, nibbles @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.m = u16::from_le_bytes([*m0, *m1]);
        for (j, byte) in nibbles.iter().enumerate() {
            out.codes[j] = byte & 15;
            out.codes[j + 16] = byte >> 4;
        }
    }
}
