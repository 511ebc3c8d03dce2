//! IQ4_XS: 256 weights in 136 bytes, eight groups of 32, `w = d * (scale - 32) * VALUES[q]`.
//! Layout: `d` f16; two bytes with the high two bits of the scales, from the lowest bits on; four bytes
//! with their low nibbles; 16 bytes for each group as in IQ4_NL. Source: ggml `block_iq4_xs`.

use super::fit::{inverse, largest, nearest_integer, scale_of_values};
use super::grid::{self, read};
use super::half_float::nearest_scale;
use super::iq4_nl::{VALUES, quantize_nibbles, take_nibbles};
use super::{Format, Integers, Integral, Writable};

/// The 4-bit weights of IQ4_NL, with a 6-bit signed scale per 32.
pub(crate) struct Iq4Xs;

/// The signed scales of all groups.
#[inline(always)]
fn group_scales(high: u16, low: &[u8; 4]) -> [i8; 8] {
    std::array::from_fn(|g| {
        let low = low[g / 2] >> (g % 2 * 4) & 15;
        let high = (high >> (2 * g) & 3) as u8;
        (low | high << 4) as i8 - 32
    })
}

impl Writable<136, 256> for Iq4Xs {
    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 136]) {
        let groups = x.as_chunks::<32>().0;
        let mut scales = [0.0f32; 8];
        for (g, x) in groups.iter().enumerate() {
            scales[g] = scale_of_values(x, &VALUES.of_codes);
        }
        let d = nearest_scale(largest(&scales) / -32.0);
        let d_inverse = inverse(d.to_f32());
        block.fill(0);
        block[..2].copy_from_slice(&d.to_le_bytes());
        let mut high = 0;
        for (g, x) in groups.iter().enumerate() {
            let scale = nearest_integer((scales[g] * d_inverse).clamp(-32.0, 31.0));
            let stored = (scale + 32.0) as u8;
            block[4 + g / 2] |= (stored & 15) << (g % 2 * 4);
            high |= u16::from(stored >> 4) << (2 * g);
            quantize_nibbles(x, d.to_f32() * scale, &mut block[8 + 16 * g..][..16]);
        }
        block[2..4].copy_from_slice(&high.to_le_bytes());
    }
}

impl Integral<136, 256> for Iq4Xs {
    #[inline(always)]
    fn integers(block: &[u8; 136], out: &mut Integers) {
        let [d0, d1, h0, h1, l0, l1, l2, l3, nibbles @ ..] = block;
        let scales = group_scales(u16::from_le_bytes([*h0, *h1]), &[*l0, *l1, *l2, *l3]);
        out.d = u16::from_le_bytes([*d0, *d1]);
        out.scales[..scales.len()].copy_from_slice(&scales);
        let groups = nibbles.as_chunks::<16>().0.iter();
        for (nibbles, codes) in groups.zip(out.codes.as_chunks_mut::<32>().0) {
            take_nibbles(nibbles, codes);
        }
    }
}

read!(Iq4Xs, 136, VALUES, 32);
