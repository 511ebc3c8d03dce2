//! Q8_0: 32 weights in 34 bytes, `w = d * q`.
//! Layout: `d` f16; 32 signed bytes. Source: ggml `block_q8_0`.

use super::fit::{inverse, largest, nearest_integer};
use super::half_float::{nearest_scale, read_scale};
use super::{Format, Integers, Integral, Writable};

/// 8-bit weights with a scale.
pub(crate) struct Q80;

impl Format<34, 32> for Q80 {
    #[inline(always)]
    fn dequantize(block: &[u8; 34], out: &mut [f32; 32]) {
        let [d0, d1, bytes @ ..] = block;
        let d = read_scale(*d0, *d1);
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = f32::from(*byte as i8) * d;
        }
    }
}

impl Writable<34, 32> for Q80 {
    #[inline(always)]
    fn quantize(x: &[f32; 32], block: &mut [u8; 34]) {
        let d = nearest_scale(largest(x).abs() / 127.0);
        let inverse = inverse(d.to_f32());
        block[..2].copy_from_slice(&d.to_le_bytes());
        for (byte, x) in block[2..].iter_mut().zip(x) {
            *byte = nearest_integer((x * inverse).clamp(-127.0, 127.0)) as i8 as u8;
        }
    }
}

impl Integral<34, 32> for Q80 {
    #[inline(always)]
    fn integers(block: &[u8; 34], out: &mut Integers) {
        let [d0, d1, bytes @ ..] = block;
        out.d = u16::from_le_bytes([*d0, *d1]);
        for (code, byte) in out.codes.iter_mut().zip(bytes) {
            *code = byte ^ 0x80;
        }
    }
}
