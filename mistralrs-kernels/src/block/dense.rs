//! Unquantized numbers as blocks of one: IEEE single, IEEE half and bfloat16, little-endian.
//! bfloat16 is the upper half of a single.

use super::{Format, Writable, f16_to_f32};

/// IEEE 754 binary32.
pub(crate) struct F32;
/// IEEE 754 binary16.
pub(crate) struct F16;
/// bfloat16.
pub(crate) struct BF16;

impl Format<4, 1> for F32 {
    #[inline(always)]
    fn dequantize(block: &[u8; 4], out: &mut [f32; 1]) {
        out[0] = f32::from_le_bytes(*block);
    }
}

impl Writable<4, 1> for F32 {
    #[inline(always)]
    fn quantize(x: &[f32; 1], block: &mut [u8; 4]) {
        *block = x[0].to_le_bytes();
    }
}

impl Format<2, 1> for F16 {
    #[inline(always)]
    fn dequantize(block: &[u8; 2], out: &mut [f32; 1]) {
        out[0] = f16_to_f32(u16::from_le_bytes(*block));
    }
}

impl Writable<2, 1> for F16 {
    #[inline(always)]
    fn quantize(x: &[f32; 1], block: &mut [u8; 2]) {
        *block = half::f16::from_f32(x[0]).to_le_bytes();
    }
}

impl Format<2, 1> for BF16 {
    #[inline(always)]
    fn dequantize(block: &[u8; 2], out: &mut [f32; 1]) {
        out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16);
    }
}

impl Writable<2, 1> for BF16 {
    #[inline(always)]
    fn quantize(x: &[f32; 1], block: &mut [u8; 2]) {
        *block = half::bf16::from_f32(x[0]).to_le_bytes();
    }
}
