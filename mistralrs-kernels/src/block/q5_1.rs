//! Q5_1: 32 weights in 24 bytes, `w = d * q + m`.
//! Layout: `d` f16; `m` f16; then fifth bits and nibbles as in Q5_0. Source: ggml `block_q5_1`.

use super::fit::{inverse, nearest_index, range};
use super::half_float::{nearest_scale, read_scale};
use super::q5_0::{pack, unpack};
use super::{Format, Integers, Integral, Writable};

/// 5-bit weights with a scale and an offset.
pub(crate) struct Q51;

impl Format<24, 32> for Q51 {
    #[inline(always)]
    fn dequantize(block: &[u8; 24], out: &mut [f32; 32]) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, nibbles @ ..] = block;
        let (d, m) = (read_scale(*d0, *d1), read_scale(*m0, *m1));
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        for (j, byte) in nibbles.iter().enumerate() {
            let (low, high) = unpack(*byte, fifth, j);
            out[j] = f32::from(low) * d + m;
            out[j + 16] = f32::from(high) * d + m;
        }
    }
}

impl Writable<24, 32> for Q51 {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 24]) {
        let (low, high) = range(x);
        let m = nearest_scale(low);
        let d = nearest_scale((high - m.to_f32()) / 31.0);
        let (inverse, low) = (inverse(d.to_f32()), m.to_f32());
        let q = x.map(|x| nearest_index((x - low) * inverse, 31.0));
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&m.to_le_bytes());
        pack(&q, &mut block[4..]);
    }
}

impl Integral<24, 32> for Q51 {
    #[inline(always)]
    fn integers(block: &[u8; 24], out: &mut Integers) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, nibbles @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.m = u16::from_le_bytes([*m0, *m1]);
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        for (j, byte) in nibbles.iter().enumerate() {
            (out.codes[j], out.codes[j + 16]) = unpack(*byte, fifth, j);
        }
    }
}
