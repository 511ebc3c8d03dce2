//! Q5_K: 256 weights in 176 bytes, eight groups of 32, `w = d * scale * q - dmin * min`.
//! Layout: 16 bytes of scales as in Q4_K; 32 bytes of fifth bits, bit `g` of byte `l` belonging to
//! weight `l` of group `g`; 128 bytes of low nibbles as in Q4_K. Source: ggml `block_q5_K`.

use super::q4_k::{integer_scales, quantize_groups, scales};
use super::{Format, Integers, Integral, Writable, keep_apart};

/// 5-bit weights, with a 6-bit scale and min per 32.
pub(crate) struct Q5K;

impl Format<176, 256> for Q5K {
    #[inline(always)]
    fn dequantize(block: &[u8; 176], out: &mut [f32; 256]) {
        let Some((header, rest)) = block.split_first_chunk::<16>() else {
            return;
        };
        let Some((fifth_bits, nibbles)) = rest.split_first_chunk::<32>() else {
            return;
        };
        let nibbles = nibbles.as_chunks::<32>().0;
        let (scales, mins) = scales(header);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = (scales[g], mins[g]);
            let shift = g % 2 * 4;
            let bytes = nibbles[g / 2].iter().zip(fifth_bits);
            for (out, (byte, fifth)) in out.iter_mut().zip(bytes) {
                let q = (byte >> shift & 15) | (fifth >> g & 1) << 4;
                *out = scale * f32::from(q) - min;
            }
            keep_apart();
        }
    }
}

impl Writable<176, 256> for Q5K {
    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 176]) {
        let (header, rest) = block.split_at_mut(16);
        let (fifth_bits, nibbles) = rest.split_at_mut(32);
        let q = quantize_groups(x, 31.0, header);
        fifth_bits.fill(0);
        for (g, q) in q.as_chunks::<32>().0.iter().enumerate() {
            for (fifth, q) in fifth_bits.iter_mut().zip(q) {
                *fifth |= (q >> 4) << g;
            }
        }
        let pairs = q.as_chunks::<64>().0.iter();
        for (q, bytes) in pairs.zip(nibbles.as_chunks_mut::<32>().0) {
            for (l, byte) in bytes.iter_mut().enumerate() {
                *byte = (q[l] & 15) | (q[l + 32] & 15) << 4;
            }
        }
    }
}

impl Integral<176, 256> for Q5K {
    #[inline(always)]
    fn integers(block: &[u8; 176], out: &mut Integers) {
        let Some((header, rest)) = block.split_first_chunk::<16>() else {
            return;
        };
        let Some((fifth_bits, nibbles)) = rest.split_first_chunk::<32>() else {
            return;
        };
        integer_scales(header, out);
        let nibbles = nibbles.as_chunks::<32>().0;
        for (g, codes) in out.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let bytes = nibbles[g / 2].iter().zip(fifth_bits);
            for (code, (byte, fifth)) in codes.iter_mut().zip(bytes) {
                *code = (byte >> (g % 2 * 4) & 15) | (fifth >> g & 1) << 4;
            }
        }
    }
}
