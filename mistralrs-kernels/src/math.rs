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

/// The share of the normal distribution above `x`: `erfc(x / sqrt(2)) / 2`, within 3e-7 of itself
/// for `x >= 0` and of 1 below. Source: the Chebyshev fit of erfc in Numerical Recipes, section 6.2.
#[inline(always)]
pub(crate) fn normal_tail(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let poly = -0.822_152_2 + t * 0.170_872_77;
    let poly = -1.135_204 + t * (1.488_515_9 + t * poly);
    let poly = 0.096_784_18 + t * (-0.186_288_06 + t * (0.278_868_07 + t * poly));
    let poly = -1.265_512_2 + t * (1.000_023_7 + t * (0.374_091_97 + t * poly));
    let tail = 0.5 * t * exp(poly - z * z);
    if x < 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::{exp, normal_tail, tanh};

    /// The tail by Simpson's rule over the density, in `f64`.
    fn tail_by_quadrature(x: f64) -> f64 {
        let steps = 2000;
        let width = 12.0 / f64::from(steps);
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sum: f64 = (0..=steps)
            .map(|i| {
                let factor = if i == 0 || i == steps {
                    1.0
                } else if i % 2 == 1 {
                    4.0
                } else {
                    2.0
                };
                factor * density(x + f64::from(i) * width)
            })
            .sum();
        sum * width / 3.0
    }

    #[test]
    fn the_normal_tail_is_close_to_its_integral() {
        for step in 0..=800 {
            let x = step as f32 * 0.01;
            let wanted = tail_by_quadrature(f64::from(x));
            let miss = (f64::from(normal_tail(x)) / wanted - 1.0).abs();
            // The square in the exponent costs digits far out, where the tail is nearly nothing.
            let bound = 4e-7 + 1e-7 * f64::from(x * x);
            assert!(miss < bound, "{x}: {miss}");
            assert!((f64::from(normal_tail(-x)) - (1.0 - wanted)).abs() < 3e-7, "{x}");
        }
        assert_eq!(normal_tail(40.0), 0.0);
        assert_eq!(normal_tail(-40.0), 1.0);
        assert!(normal_tail(f32::NAN).is_nan());
    }

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
