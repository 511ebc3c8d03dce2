//! Q5_0: 32 weights in 22 bytes, `w = d * (q - 16)`.
//! Layout: `d` f16; the fifth bits of weights 0..32 as one u32; 16 bytes, byte `j` holds the low
//! four bits of weight `j` in its low and of `j + 16` in its high nibble. Source: ggml `block_q5_0`.

use super::fit::{inverse, largest, nearest_index};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable};

/// 5-bit weights with a scale.
pub(crate) struct Q50;

/// Weights `j` and `j + 16` as 0..32, from their shared byte and the word of fifth bits.
#[inline(always)]
pub(super) fn unpack(byte: u8, fifth: u32, j: usize) -> (u8, u8) {
    let bit = |at: usize| u8::from(fifth & (1 << at) != 0) << 4;
    ((byte & 15) | bit(j), (byte >> 4) | bit(j + 16))
}

/// Writes 32 five-bit numbers as the word of fifth bits and the 16 bytes of nibbles.
#[inline(always)]
pub(super) fn pack(q: &[u8; 32], out: &mut [u8]) {
    let mut fifth = 0u32;
    for (j, q) in q.iter().enumerate() {
        fifth |= u32::from(q >> 4) << j;
    }
    out[..4].copy_from_slice(&fifth.to_le_bytes());
    for j in 0..16 {
        out[4 + j] = (q[j] & 15) | (q[j + 16] & 15) << 4;
    }
}

impl Format<22, 32> for Q50 {
    #[inline(always)]
    fn dequantize(block: &[u8; 22], out: &mut [f32; 32]) {
        let [d0, d1, h0, h1, h2, h3, nibbles @ ..] = block;
        let d = read_scale(*d0, *d1);
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        for (j, byte) in nibbles.iter().enumerate() {
            let (low, high) = unpack(*byte, fifth, j);
            out[j] = (i32::from(low) - 16) as f32 * d;
            out[j + 16] = (i32::from(high) - 16) as f32 * d;
        }
    }
}

impl Writable<22, 32> for Q50 {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 22]) {
        let d = nearest_scale(largest(x) / -16.0);
        let inverse = inverse(d.to_f32());
        let q = x.map(|x| nearest_index(x * inverse + 16.0, 31.0));
        block[..2].copy_from_slice(&d.to_le_bytes());
        pack(&q, &mut block[2..]);
    }
}

impl Integral<22, 32> for Q50 {
    #[inline(always)]
    fn integers(block: &[u8; 22], out: &mut Integers) {
        let [d0, d1, h0, h1, h2, h3, nibbles @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        for (j, byte) in nibbles.iter().enumerate() {
            (out.codes[j], out.codes[j + 16]) = unpack(*byte, fifth, j);
        }
    }
}
