//! Q2_K: 256 weights in 84 bytes, sixteen groups of 16, `w = d * scale * q - dmin * min`.
//! Layout: 16 bytes, group `g`'s scale in the low and min in the high nibble; 64 bytes of 2-bit
//! weights; `d` f16; `dmin` f16. Each half of 128 weights owns 32 of the weight bytes: bits `2j`
//! of byte `l` are weight `32 j + l` of that half. Source: ggml `block_q2_K`.

use super::fit::{affine_scale, inverse, nearest_index};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable, keep_apart};

/// 2-bit weights, with a 4-bit scale and min per 16.
pub(crate) struct Q2K;

impl Format<84, 256> for Q2K {
    #[inline(always)]
    fn dequantize(block: &[u8; 84], out: &mut [f32; 256]) {
        let [rest @ .., d0, d1, m0, m1] = block;
        let Some((groups, quants)) = rest.split_first_chunk::<16>() else {
            return;
        };
        let quants = quants.as_chunks::<16>().0;
        let (d, dmin) = (read_scale(*d0, *d1), read_scale(*m0, *m1));
        let scales = groups.map(|group| d * f32::from(group & 15));
        let mins = groups.map(|group| dmin * f32::from(group >> 4));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (scale, min) = (scales[g], mins[g]);
            let (sixteen, shift) = place(g);
            for (out, byte) in out.iter_mut().zip(&quants[sixteen]) {
                *out = scale * f32::from(byte >> shift & 3) - min;
            }
            keep_apart();
        }
    }
}

impl Writable<84, 256> for Q2K {
    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 84]) {
        let groups = x.as_chunks::<16>().0;
        let (mut scales, mut mins) = ([0.0f32; 16], [0.0f32; 16]);
        for (g, x) in groups.iter().enumerate() {
            (scales[g], mins[g]) = affine_scale(x, 3.0);
        }
        let d = nearest_scale(scales.iter().fold(0.0, |a: f32, b| a.max(*b)) / 15.0);
        let dmin = nearest_scale(mins.iter().fold(0.0, |a: f32, b| a.max(*b)) / 15.0);
        let (d_inverse, dmin_inverse) = (inverse(d.to_f32()), inverse(dmin.to_f32()));
        block.fill(0);
        for (g, x) in groups.iter().enumerate() {
            let scale = nearest_index(scales[g] * d_inverse, 15.0);
            let min = nearest_index(mins[g] * dmin_inverse, 15.0);
            block[g] = scale | min << 4;
            let step = inverse(d.to_f32() * f32::from(scale));
            let offset = dmin.to_f32() * f32::from(min);
            let (sixteen, shift) = place(g);
            for (byte, x) in block[16 + 16 * sixteen..].iter_mut().zip(x) {
                *byte |= nearest_index((x + offset) * step, 3.0) << shift;
            }
        }
        block[80..82].copy_from_slice(&d.to_le_bytes());
        block[82..].copy_from_slice(&dmin.to_le_bytes());
    }
}

/// Where group `g` of 16 weights lies: which sixteen bytes, and at which bit of them.
#[inline(always)]
pub(super) fn place(g: usize) -> (usize, usize) {
    (g / 8 * 2 + g % 2, g % 8 / 2 * 2)
}

impl Integral<84, 256> for Q2K {
    #[inline(always)]
    fn integers(block: &[u8; 84], out: &mut Integers) {
        let [rest @ .., d0, d1, m0, m1] = block;
        let Some((groups, quants)) = rest.split_first_chunk::<16>() else {
            return;
        };
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.m = u16::from_le_bytes([*m0, *m1]);
        for (g, group) in groups.iter().enumerate() {
            (out.scales[g], out.mins[g]) = ((group & 15).cast_signed(), group >> 4);
        }
        let quants = quants.as_chunks::<16>().0;
        for (g, codes) in out.codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (sixteen, shift) = place(g);
            for (code, byte) in codes.iter_mut().zip(&quants[sixteen]) {
                *code = byte >> shift & 3;
            }
        }
    }
}
