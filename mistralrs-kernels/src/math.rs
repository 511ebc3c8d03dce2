//! Elementary functions without branches, so that loops over them vectorize; the same bits on
//! every instruction set (no fused multiply-add). Accuracy is tested against `f64`.
//! Source: range reduction after Cody and Waite; tanh's small-argument polynomial after Cephes.

/// `e^x`, within 2 units in the last place; overflows to infinity, underflows to 0, keeps NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    const LN_2_HIGH: f32 = 355.0 / 512.0; // few bits, so that n * LN_2_HIGH is exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is 0 or infinity; comparisons, unlike min and max, let NaN through.
    let x = if x < -105.0 { -105.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    // x = n ln 2 + r
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // The Taylor series to r^7: its error is below 1e-8 for |r| <= ln 2 / 2.
    let tail = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * tail);
    let tail = 0.5 + r * (1.0 / 6.0 + r * tail);
    let series = 1.0 + (r + r * r * tail);
    // 2^n in two factors, for n itself may leave the exponent's range.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    series * power(half) * power(n.wrapping_sub(half))
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let large = 1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0);
    let square = x * x;
    let poly = 2.063_909e-2 + square * -5.704_988_7e-3;
    let poly = 1.333_144_2e-1 + square * (-5.373_971_6e-2 + square * poly);
    let small = magnitude + magnitude * square * (-3.333_328e-1 + square * poly);
    let result = if magnitude < 0.625 { small } else { large };
    result.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::{exp, tanh};

    fn ulps(found: f32, wanted: f64) -> f64 {
        let nearest = wanted as f32;
        let unit =
            f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(found) - wanted).abs() / unit
    }

    #[test]
    fn functions_are_close_to_f64_everywhere() {
        let (mut of_exp, mut of_tanh) = (0.0f64, 0.0f64);
        for step in 0..400_000 {
            let x = (step as f32 - 200_000.0) * 4.37e-4;
            let wide = f64::from(x);
            of_exp = of_exp.max(ulps(exp(x), wide.exp()));
            of_tanh = of_tanh.max(ulps(tanh(x * 0.1), (f64::from(x * 0.1)).tanh()));
        }
        assert!(of_exp < 2.0, "exp: {of_exp} ulps");
        assert!(of_tanh < 3.0, "tanh: {of_tanh} ulps");
    }

    #[test]
    fn extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(-1e30).to_bits(), 0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(88.8), f32::INFINITY);
        assert!(exp(88.7).is_finite());
        assert!(exp(-103.0) > 0.0, "subnormal results are kept");
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
    }
}
