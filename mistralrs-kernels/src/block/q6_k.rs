//! Q6_K: 256 weights in 210 bytes, sixteen groups of 16, `w = d * scale * (q - 32)`.
//! Layout: 128 bytes of low nibbles; 64 bytes of high bit pairs; 16 signed scales; `d` f16. Each half
//! of 128 weights owns 64 nibble bytes and 32 pair bytes: quarter `k` of 32 weights has its nibbles
//! in bytes `32 (k % 2) + l` (low for `k < 2`, else high), its pairs in byte `l` at bit `2k`.
//! Source: ggml `block_q6_K`.

use super::Format;
use super::fit::{inverse, largest, nearest_integer, symmetric_scale};
use super::half_float::{nearest_scale, read_scale};

/// 6-bit weights, with an 8-bit signed scale per 16.
pub(crate) struct Q6K;

impl Format<210, 256> for Q6K {
    #[inline(always)]
    fn dequantize(block: &[u8; 210], out: &mut [f32; 256]) {
        let [rest @ .., d0, d1] = block;
        let (nibbles, rest) = rest.split_at(128);
        let (pairs, scales) = rest.split_at(64);
        let d = read_scale(*d0, *d1);
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[g] as i8);
            let place = Place::of(g);
            let low = &nibbles[place.nibbles..place.nibbles + 16];
            let high = &pairs[place.pairs..place.pairs + 16];
            for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                let q = (low >> place.nibble_shift & 15) | (high >> place.pair_shift & 3) << 4;
                *out = scale * (i32::from(q) - 32) as f32;
            }
        }
    }

    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 210]) {
        let groups = x.as_chunks::<16>().0;
        let mut scales = [0.0f32; 16];
        for (g, x) in groups.iter().enumerate() {
            scales[g] = symmetric_scale(x, 32.0);
        }
        let d = nearest_scale(largest(&scales) / -128.0);
        let d_inverse = inverse(d.to_f32());
        block.fill(0);
        for (g, x) in groups.iter().enumerate() {
            let scale = nearest_integer((scales[g] * d_inverse).clamp(-128.0, 127.0));
            block[192 + g] = scale as i8 as u8;
            let step = inverse(d.to_f32() * scale);
            let place = Place::of(g);
            for (l, x) in x.iter().enumerate() {
                let q = (nearest_integer((x * step).clamp(-32.0, 31.0)) + 32.0) as u8;
                block[place.nibbles + l] |= (q & 15) << place.nibble_shift;
                block[128 + place.pairs + l] |= (q >> 4) << place.pair_shift;
            }
        }
        block[208..].copy_from_slice(&d.to_le_bytes());
    }
}

/// Where a group of 16 weights lies: first byte and bit position of its nibbles and bit pairs.
struct Place {
    nibbles: usize,
    nibble_shift: usize,
    pairs: usize,
    pair_shift: usize,
}

impl Place {
    #[inline(always)]
    fn of(g: usize) -> Self {
        let (half, quarter, first) = (g / 8, g % 8 / 2, g % 2 * 16);
        Self {
            nibbles: half * 64 + quarter % 2 * 32 + first,
            nibble_shift: quarter / 2 * 4,
            pairs: half * 32 + first,
            pair_shift: quarter * 2,
        }
    }
}
