//! Q4_K: 256 weights in 144 bytes, eight groups of 32, `w = d * scale * q - dmin * min`.
//! Layout: `d` f16; `dmin` f16; 12 bytes of 6-bit scales and mins; 128 bytes, where 32 bytes hold
//! group `2c` in their low and group `2c + 1` in their high nibbles. The 12 bytes: scales 0..4 in
//! the low six bits of bytes 0..4, mins 0..4 in those of bytes 4..8; for groups 4..8 byte `g + 4`
//! has the low four bits of scale (low nibble) and min (high nibble), and the top two bits of bytes
//! `g - 4` and `g` their high two bits. Source: ggml `block_q4_K`.

use super::fit::{affine_scale, inverse, nearest_index};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable, keep_apart};

/// 4-bit weights, with a 6-bit scale and min per 32.
pub(crate) struct Q4K;

/// The scales and mins of all groups, with `d` and `dmin` multiplied in.
#[inline(always)]
pub(super) fn scales(header: &[u8; 16]) -> ([f32; 8], [f32; 8]) {
    let [d0, d1, m0, m1, packed @ ..] = header;
    let (d, dmin) = (read_scale(*d0, *d1), read_scale(*m0, *m1));
    let pairs: [(u8, u8); 8] = std::array::from_fn(|g| unpack_scales(packed, g));
    let scales = pairs.map(|(scale, _)| d * f32::from(scale));
    let mins = pairs.map(|(_, min)| dmin * f32::from(min));
    (scales, mins)
}

/// The 6-bit scale and min of group `g`.
#[inline(always)]
fn unpack_scales(packed: &[u8; 12], g: usize) -> (u8, u8) {
    if g < 4 {
        (packed[g] & 63, packed[g + 4] & 63)
    } else {
        (
            (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4,
            (packed[g + 4] >> 4) | (packed[g] >> 6) << 4,
        )
    }
}

#[inline(always)]
fn pack_scales(scales: &[u8; 8], mins: &[u8; 8], packed: &mut [u8]) {
    for g in 0..4 {
        packed[g] = scales[g] | (scales[g + 4] >> 4) << 6;
        packed[g + 4] = mins[g] | (mins[g + 4] >> 4) << 6;
        packed[g + 8] = (scales[g + 4] & 15) | (mins[g + 4] & 15) << 4;
    }
}

/// Finds the scales of 256 weights with integers up to `max`, writes the 16 bytes that hold them
/// (the same in Q4_K and Q5_K) and returns the integers.
#[inline(always)]
pub(super) fn quantize_groups(x: &[f32; 256], max: f32, header: &mut [u8]) -> [u8; 256] {
    let groups = x.as_chunks::<32>().0;
    let (mut scales, mut mins) = ([0.0f32; 8], [0.0f32; 8]);
    for (g, x) in groups.iter().enumerate() {
        (scales[g], mins[g]) = affine_scale(x, max);
    }
    let d = nearest_scale(scales.iter().fold(0.0, |a: f32, b| a.max(*b)) / 63.0);
    let dmin = nearest_scale(mins.iter().fold(0.0, |a: f32, b| a.max(*b)) / 63.0);
    let (d_inverse, dmin_inverse) = (inverse(d.to_f32()), inverse(dmin.to_f32()));
    let scales = scales.map(|s| nearest_index(s * d_inverse, 63.0));
    let mins = mins.map(|m| nearest_index(m * dmin_inverse, 63.0));
    header[..2].copy_from_slice(&d.to_le_bytes());
    header[2..4].copy_from_slice(&dmin.to_le_bytes());
    pack_scales(&scales, &mins, &mut header[4..16]);
    let mut q = [0u8; 256];
    for (g, q) in q.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let step = inverse(d.to_f32() * f32::from(scales[g]));
        let offset = dmin.to_f32() * f32::from(mins[g]);
        *q = groups[g].map(|x| nearest_index((x + offset) * step, max));
    }
    q
}

impl Format<144, 256> for Q4K {
    #[inline(always)]
    fn dequantize(block: &[u8; 144], out: &mut [f32; 256]) {
        let Some((header, nibbles)) = block.split_first_chunk::<16>() else {
            return;
        };
        let (scales, mins) = scales(header);
        let pairs = out.as_chunks_mut::<64>().0.iter_mut();
        for (c, (out, bytes)) in pairs.zip(nibbles.as_chunks::<32>().0).enumerate() {
            let (low, high) = out.split_at_mut(32);
            for (out, byte) in low.iter_mut().zip(bytes) {
                *out = scales[2 * c] * f32::from(byte & 15) - mins[2 * c];
            }
            for (out, byte) in high.iter_mut().zip(bytes) {
                *out = scales[2 * c + 1] * f32::from(byte >> 4) - mins[2 * c + 1];
            }
            keep_apart();
        }
    }
}

impl Writable<144, 256> for Q4K {
    #[inline(always)]
    fn quantize(x: &[f32; 256], block: &mut [u8; 144]) {
        let (header, nibbles) = block.split_at_mut(16);
        let q = quantize_groups(x, 15.0, header);
        let pairs = q.as_chunks::<64>().0.iter();
        for (q, bytes) in pairs.zip(nibbles.as_chunks_mut::<32>().0) {
            for (l, byte) in bytes.iter_mut().enumerate() {
                *byte = q[l] | q[l + 32] << 4;
            }
        }
    }
}

/// The halves, scales and mins of all groups as they are stored, the same in Q4_K and Q5_K.
#[inline(always)]
pub(super) fn integer_scales(header: &[u8; 16], out: &mut Integers) {
    let [d0, d1, m0, m1, packed @ ..] = header;
    out.d = u16::from_le_bytes([*d0, *d1]);
    out.m = u16::from_le_bytes([*m0, *m1]);
    for g in 0..8 {
        let (scale, min) = unpack_scales(packed, g);
        (out.scales[g], out.mins[g]) = (scale as i8, min);
    }
}

impl Integral<144, 256> for Q4K {
    #[inline(always)]
    fn integers(block: &[u8; 144], out: &mut Integers) {
        let Some((header, nibbles)) = block.split_first_chunk::<16>() else {
            return;
        };
        integer_scales(header, out);
        let pairs = out.codes.as_chunks_mut::<64>().0.iter_mut();
        for (codes, bytes) in pairs.zip(nibbles.as_chunks::<32>().0) {
            for (l, byte) in bytes.iter().enumerate() {
                codes[l] = byte & 15;
                codes[l + 32] = byte >> 4;
            }
        }
    }
}
