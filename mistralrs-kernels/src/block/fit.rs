//! Finding the scale (and offset) with which few integers come closest to given numbers.
//! Shared by the formats; knows no layout. The method is a plain grid search over the scale with
//! a least-squares fit at each grid point.

/// The nearest integer, ties to even; exact for magnitudes below 2^22 and free of library calls.
#[inline(always)]
pub(crate) fn nearest_integer(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves no fraction bits
    (x + MAGIC) - MAGIC
}

/// The nearest integer in `0..=max`; a NaN becomes 0.
#[inline(always)]
pub(super) fn nearest_index(x: f32, max: f32) -> u8 {
    nearest_integer(x.clamp(0.0, max)) as u8
}

/// `1 / d`, or 0 where there is nothing to divide by.
#[inline(always)]
pub(crate) fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The number of largest magnitude, with its sign.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let (low, high) = range(x);
    if -low > high { low } else { high }
}

/// The smallest and the largest number, NaN ignored.
#[inline(always)]
pub(super) fn range(x: &[f32]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    let (low, high) = x.iter().fold(start, |(low, high), x| (low.min(*x), high.max(*x)));
    if low > high { (0.0, 0.0) } else { (low, high) }
}

/// The scale `s` for which `s * q`, `q` an integer in `-half..half`, comes closest to `x`.
#[inline(always)]
pub(super) fn symmetric_scale(x: &[f32; 16], half: f32) -> f32 {
    // The peak lands near the longer, negative end.
    let ends = (-9..=9).map(|step| -(half + 0.1 * step as f32));
    scale_among(x, ends, |x| nearest_integer(x.clamp(-half, half - 1.0)))
}

/// The scale `s` for which `s * v`, `v` one of ascending values, comes closest to `x`.
#[inline(always)]
pub(super) fn scale_of_values(x: &[f32; 32], values: &[i8; 16]) -> f32 {
    // The peak may land near either end.
    let ends = [values[0], values[15]].into_iter();
    let ends = ends.flat_map(|end| (-7..=7).map(move |step| f32::from(end) + 2.0 * step as f32));
    scale_among(x, ends, |x| f32::from(values[usize::from(nearest_of(x, values))]))
}

/// The scale `s` for which `s * q`, `q` what is `nearest` to a number divided by it, comes closest to `x`: the search
/// brings the peak to each of `ends` and fits the scale to what that leads to.
#[inline(always)]
fn scale_among<const LEN: usize>(
    x: &[f32; LEN],
    ends: impl Iterator<Item = f32>,
    nearest: impl Fn(f32) -> f32,
) -> f32 {
    let peak = largest(x);
    if peak.abs() < f32::MIN_POSITIVE {
        return 0.0;
    }
    // Of all s, the error falls most with (Σxq)²/Σq²: then s = Σxq/Σq².
    let (mut best_scale, mut best_gain) = (0.0, -1.0);
    for end in ends {
        let inverse = end / peak;
        let (mut xq, mut qq) = (0.0, 0.0);
        for x in x {
            let q = nearest(x * inverse);
            xq += x * q;
            qq += q * q;
        }
        let gain = if qq > 0.0 { xq * xq / qq } else { 0.0 };
        if gain > best_gain {
            (best_scale, best_gain) = (xq / qq.max(1.0), gain);
        }
    }
    best_scale
}

/// Which of ascending values is nearest; a NaN becomes the first.
#[inline(always)]
pub(super) fn nearest_of(x: f32, values: &[i8; 16]) -> u8 {
    let mut nearest = 0;
    for pair in values.windows(2) {
        let middle = f32::from(i16::from(pair[0]) + i16::from(pair[1])) * 0.5;
        nearest += u8::from(x > middle);
    }
    nearest
}

/// The scale `s` and offset `m >= 0` for which `s * q - m`, `q` an integer in `0..=max`, comes
/// closest to `x`.
#[inline(always)]
pub(super) fn affine_scale<const LEN: usize>(x: &[f32; LEN], max: f32) -> (f32, f32) {
    let (low, high) = range(x);
    // The formats subtract an offset, so numbers that are all positive start at zero.
    let low = low.min(0.0);
    if high - low < f32::MIN_POSITIVE {
        return (0.0, -low);
    }
    let mut best = ((high - low) / max, -low);
    let mut best_error = f32::INFINITY;
    for step in -5..=8 {
        let inverse = (max + 0.15 * step as f32) / (high - low);
        let (scale, offset) = affine_fit(x, inverse, low, max);
        let error = affine_error(x, scale, offset, max);
        if error < best_error {
            (best, best_error) = ((scale, offset), error);
        }
    }
    best
}

/// Least squares of `x ≈ s q - m` for the integers that `inverse` and `low` lead to.
#[inline(always)]
fn affine_fit<const LEN: usize>(x: &[f32; LEN], inverse: f32, low: f32, max: f32) -> (f32, f32) {
    let (mut sum_x, mut sum_q, mut sum_xq, mut sum_qq) = (0.0, 0.0, 0.0, 0.0);
    for x in x {
        let q = nearest_integer(((x - low) * inverse).clamp(0.0, max));
        sum_x += x;
        sum_q += q;
        sum_xq += x * q;
        sum_qq += q * q;
    }
    let n = LEN as f32;
    let determinant = n * sum_qq - sum_q * sum_q;
    if determinant > 0.0 {
        let scale = (n * sum_xq - sum_x * sum_q) / determinant;
        let offset = (sum_q * sum_xq - sum_qq * sum_x) / determinant;
        if offset >= 0.0 && scale > 0.0 {
            return (scale, offset);
        }
    }
    // No offset of the allowed sign: fit the scale alone.
    ((sum_xq / sum_qq.max(1.0)).max(0.0), 0.0)
}

#[inline(always)]
fn affine_error<const LEN: usize>(x: &[f32; LEN], scale: f32, offset: f32, max: f32) -> f32 {
    let inverse = inverse(scale);
    let mut error = 0.0;
    for x in x {
        let q = nearest_integer(((x + offset) * inverse).clamp(0.0, max));
        let miss = x - (scale * q - offset);
        error += miss * miss;
    }
    error
}
