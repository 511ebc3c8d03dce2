//! IEEE half precision to and from `f32`, without branches so that loops over it vectorize.
//! Source: IEEE 754-2019, binary16.

/// Widens a half-precision number exactly; a NaN stays a NaN.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    // Shifted into place, the exponent is too small by 127 - 15; multiplying by 2^112 repairs
    // normal and subnormal numbers alike, and exactly.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * REBIAS).to_bits();
    let special = magnitude | 0x7f80_0000;
    let value = if bits & 0x7c00 == 0x7c00 { special } else { finite };
    f32::from_bits(value | (u32::from(bits & 0x8000) << 16))
}

/// The half-precision number nearest to `x`, kept finite: scales of blocks must not overflow.
#[inline(always)]
pub(crate) fn nearest_scale(x: f32) -> half::f16 {
    half::f16::from_f32(x.clamp(-65504.0, 65504.0))
}

/// Reads a scale from the two bytes of a block that hold it.
#[inline(always)]
pub(crate) fn read_scale(low: u8, high: u8) -> f32 {
    f16_to_f32(u16::from_le_bytes([low, high]))
}

#[cfg(test)]
mod tests {
    use super::f16_to_f32;

    #[test]
    fn every_half_widens_like_the_half_crate() {
        for bits in 0..=u16::MAX {
            let wanted = half::f16::from_bits(bits).to_f32();
            let found = f16_to_f32(bits);
            if wanted.is_nan() {
                assert!(found.is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(found.to_bits(), wanted.to_bits(), "{bits:#06x}");
            }
        }
    }
}
