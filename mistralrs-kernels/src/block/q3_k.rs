//! Q3_K: 256 weights in 110 bytes, sixteen groups of 16, `w = d * (scale - 32) * (q - 4)`.
//! Layout: 32 bytes of third bits, bit `j` of byte `l` belonging to weight `32 j + l`; 64 bytes of
//! the low two bits, arranged as in Q2_K; 12 bytes of 6-bit scales; `d` f16. Scale `g` has its low
//! four bits in byte `g % 8` (low nibble for `g < 8`, else high) and its high two bits in byte
//! `8 + g % 4` at bit `2 (g / 4)`. Source: ggml `block_q3_K`.

use super::fit::{inverse, largest, nearest_integer, symmetric_scale};
use super::half_float::{nearest_scale, read_scale};
use super::q2_k::place;
use super::{Format, Integers, Integral, Writable, keep_apart};

/// 3-bit weights, with a 6-bit signed scale per 16.
pub(crate) struct Q3K;

/// The signed scales of all groups.
#[inline(always)]
fn group_scales(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = packed[g % 8] >> (g / 8 * 4) & 15;
        let high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

impl Format<110, 256> for Q3K {
    #[inline(always)]
    fn dequantize(block: &[u8; 110], out: &mut [f32; 256]) {
        let [rest @ .., d0, d1] = block;
        let (third_bits, rest) = rest.split_at(32);
        let Some((quants, packed)) = rest.split_last_chunk::<12>() else {
            return;
        };
        let third_bits = third_bits.as_chunks::<16>().0;
        let quants = quants.as_chunks::<16>().0;
        let d = read_scale(*d0, *d1);
        let scales = group_scales(packed).map(|scale| d * f32::from(scale));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = scales[g];
            let (sixteen, shift) = place(g);
            let bytes = quants[sixteen].iter().zip(&third_bits[g % 2]);
            for (out, (byte, third)) in out.iter_mut().zip(bytes) {
                let q = (byte >> shift & 3) | (third >> (g / 2) & 1) << 2;
                *out = scale * (i32::from(q) - 4) as f32;
            }
            keep_apart();
        }
    }
}

impl Writable<110, 256> for Q3K {
    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 110]) {
        let groups = x.as_chunks::<16>().0;
        let mut scales = [0.0f32; 16];
        for (g, x) in groups.iter().enumerate() {
            scales[g] = symmetric_scale(x, 4.0);
        }
        let d = nearest_scale(largest(&scales) / -32.0);
        let d_inverse = inverse(d.to_f32());
        block.fill(0);
        for (g, x) in groups.iter().enumerate() {
            let scale = nearest_integer((scales[g] * d_inverse).clamp(-32.0, 31.0));
            let stored = (scale + 32.0) as u8;
            block[96 + g % 8] |= (stored & 15) << (g / 8 * 4);
            block[104 + g % 4] |= (stored >> 4) << (g / 4 * 2);
            let step = inverse(d.to_f32() * scale);
            let (sixteen, shift) = place(g);
            for (l, x) in x.iter().enumerate() {
                let q = (nearest_integer((x * step).clamp(-4.0, 3.0)) + 4.0) as u8;
                block[32 + 16 * sixteen + l] |= (q & 3) << shift;
                block[g % 2 * 16 + l] |= (q >> 2) << (g / 2);
            }
        }
        block[108..].copy_from_slice(&d.to_le_bytes());
    }
}

impl Integral<110, 256> for Q3K {
    #[inline(always)]
    fn integers(block: &[u8; 110], out: &mut Integers) {
        let [rest @ .., d0, d1] = block;
        let (third_bits, rest) = rest.split_at(32);
        let Some((quants, packed)) = rest.split_last_chunk::<12>() else {
            return;
        };
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.scales = group_scales(packed);
        let third_bits = third_bits.as_chunks::<16>().0;
        let quants = quants.as_chunks::<16>().0;
        for (g, codes) in out.codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (sixteen, shift) = place(g);
            let bytes = quants[sixteen].iter().zip(&third_bits[g % 2]);
            for (code, (byte, third)) in codes.iter_mut().zip(bytes) {
                *code = (byte >> shift & 3) | (third >> (g / 2) & 1) << 2;
            }
        }
    }
}
