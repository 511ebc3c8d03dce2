//! Q6_K: 256 weights in 210 bytes, sixteen groups of 16, `w = d * scale * (q - 32)`.
//! Layout: 128 bytes of low nibbles; 64 bytes of high bit pairs; 16 signed scales; `d` f16. Each half
//! of 128 weights owns 64 nibble bytes and 32 pair bytes: quarter `k` of 32 weights has its nibbles
//! in bytes `32 (k % 2) + l` (low for `k < 2`, else high), its pairs in byte `l` at bit `2k`.
//! Source: ggml `block_q6_K`.

use super::fit::{inverse, largest, nearest_integer, symmetric_scale};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable, keep_apart};

/// 6-bit weights, with an 8-bit signed scale per 16.
pub(crate) struct Q6K;

impl Format<210, 256> for Q6K {
    #[inline(always)]
    fn dequantize(block: &[u8; 210], out: &mut [f32; 256]) {
        let [rest @ .., d0, d1] = block;
        let (nibbles, rest) = rest.split_at(128);
        let Some((pairs, scales)) = rest.split_last_chunk::<16>() else {
            return;
        };
        let (nibbles, pairs) = (nibbles.as_chunks::<16>().0, pairs.as_chunks::<16>().0);
        let d = read_scale(*d0, *d1);
        let scales = scales.map(|scale| d * f32::from(scale as i8));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = scales[g];
            let place = Place::of(g);
            let bytes = nibbles[place.nibbles].iter().zip(&pairs[place.pairs]);
            for (out, (low, high)) in out.iter_mut().zip(bytes) {
                let q = (low >> place.nibble_shift & 15) | (high >> place.pair_shift & 3) << 4;
                *out = scale * (i32::from(q) - 32) as f32;
            }
            keep_apart();
        }
    }
}

impl Writable<210, 256> for Q6K {
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
                block[16 * place.nibbles + l] |= (q & 15) << place.nibble_shift;
                block[128 + 16 * place.pairs + l] |= (q >> 4) << place.pair_shift;
            }
        }
        block[208..].copy_from_slice(&d.to_le_bytes());
    }
}

/// Where a group of 16 weights lies: which sixteen bytes of nibbles and of bit pairs, and at which
/// bit of them.
struct Place {
    nibbles: usize,
    nibble_shift: usize,
    pairs: usize,
    pair_shift: usize,
}

impl Place {
    #[inline(always)]
    fn of(g: usize) -> Self {
        let (half, quarter, odd) = (g / 8, g % 8 / 2, g % 2);
        Self {
            nibbles: half * 4 + quarter % 2 * 2 + odd,
            nibble_shift: quarter / 2 * 4,
            pairs: half * 2 + odd,
            pair_shift: quarter * 2,
        }
    }
}

impl Integral<210, 256> for Q6K {
    #[inline(always)]
    fn integers(block: &[u8; 210], out: &mut Integers) {
        let [rest @ .., d0, d1] = block;
        let (nibbles, rest) = rest.split_at(128);
        let Some((pairs, scales)) = rest.split_last_chunk::<16>() else {
            return;
        };
        out.d = u16::from_le_bytes([*d0, *d1]);
        for (to, scale) in out.scales.iter_mut().zip(scales) {
            *to = scale.cast_signed();
        }
        let (nibbles, pairs) = (nibbles.as_chunks::<16>().0, pairs.as_chunks::<16>().0);
        for (g, codes) in out.codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let place = Place::of(g);
            let bytes = nibbles[place.nibbles].iter().zip(&pairs[place.pairs]);
            for (code, (low, high)) in codes.iter_mut().zip(bytes) {
                *code = (low >> place.nibble_shift & 15) | (high >> place.pair_shift & 3) << 4;
            }
        }
    }
}
