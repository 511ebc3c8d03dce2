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

/// The half-precision number nearest to `x`, ties to even, and the largest for what is larger; a NaN
/// stays a NaN.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    const LARGEST: u32 = 65504f32.to_bits();
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    const HALF: f32 = 0.5; // its last bit is worth 2^-24, as that of a subnormal half
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let finite = if magnitude > LARGEST { LARGEST } else { magnitude };
    let rounded = finite + 0x0fff + (finite >> 13 & 1);
    let normal = rounded.wrapping_sub((127 - 15) << 23) >> 13;
    let subnormal = (f32::from_bits(finite) + HALF).to_bits().wrapping_sub(HALF.to_bits());
    let half = if finite < LEAST_NORMAL { subnormal } else { normal };
    let half = if magnitude > f32::INFINITY.to_bits() { 0x7e00 } else { half };
    (half | bits >> 16 & 0x8000) as u16
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
    use super::{f16_to_f32, f32_to_f16};

    #[test]
    fn numbers_round_like_the_half_crate() {
        let steps = (0..=u32::MAX).step_by(40_009).map(f32::from_bits);
        // Every half, and what lies just before, on and behind the middle to the next.
        let middles = (0..0x7c00u16).flat_map(|bits| {
            let (here, next) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            let middle = (here + next.min(65536.0)) / 2.0;
            [here, middle.next_down(), middle, middle.next_up()]
        });
        for x in steps.chain(middles).flat_map(|x| [x, -x]) {
            let wanted = half::f16::from_f32(x.clamp(-65504.0, 65504.0));
            let found = half::f16::from_bits(f32_to_f16(x));
            assert!(found.to_bits() == wanted.to_bits() || x.is_nan() && found.is_nan(), "{x}");
        }
    }

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
