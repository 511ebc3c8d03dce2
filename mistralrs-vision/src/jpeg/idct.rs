//! From a block's coefficients to its samples: the inverse cosine transform in whole numbers, columns
//! first, with two bits kept between columns and rows. Knows one block.
//! Source: Loeffler, Ligtenberg, Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications"
//! (1989), with constants of 13 bits.

const CONSTANT_BITS: u32 = 13;
const KEPT_BITS: u32 = 2;

/// √2 times a cosine, or a sum of such, in 13 bits.
const fn fixed(value: f64) -> i64 {
    (value * (1 << CONSTANT_BITS) as f64 + 0.5) as i64
}

/// `[8, 8]` samples of 0 to 255, row by row.
pub(super) fn samples(coefficients: &[i16], quantization: &[u16; 64]) -> [u8; 64] {
    let mut kept = [0i64; 64];
    for column in 0..8 {
        let at = |row: usize| {
            let place = row * 8 + column;
            let value = coefficients.get(place).copied().unwrap_or_default();
            (i64::from(value) * i64::from(quantization[place])).clamp(-LARGEST, LARGEST)
        };
        let sums = transform(std::array::from_fn(at));
        for (row, sum) in sums.into_iter().enumerate() {
            let value = rounded(sum, CONSTANT_BITS - KEPT_BITS);
            kept[row * 8 + column] = value.clamp(-LARGEST, LARGEST);
        }
    }
    let mut samples = [0u8; 64];
    for (row, out) in kept.as_chunks::<8>().0.iter().zip(samples.chunks_exact_mut(8)) {
        for (sum, sample) in transform(*row).into_iter().zip(out) {
            let value = rounded(sum, CONSTANT_BITS + KEPT_BITS + 3) + 128;
            *sample = value.clamp(0, 255) as u8;
        }
    }
    samples
}

/// What no picture reaches: others keep such numbers in 16 bits.
const LARGEST: i64 = 32_767;

fn rounded(sum: i64, bits: u32) -> i64 {
    (sum + (1 << (bits - 1))) >> bits
}

/// Eight numbers, transformed and 13 bits longer.
fn transform([x0, x1, x2, x3, x4, x5, x6, x7]: [i64; 8]) -> [i64; 8] {
    let turned = (x2 + x6) * fixed(0.541_196_100);
    let (low, high) = (turned + x2 * fixed(0.765_366_865), turned - x6 * fixed(1.847_759_065));
    let (sum, difference) = ((x0 + x4) << CONSTANT_BITS, (x0 - x4) << CONSTANT_BITS);
    let even = [sum + low, difference + high, difference - high, sum - low];

    let all = (x7 + x3 + x5 + x1) * fixed(1.175_875_602);
    let outer = -(x7 + x1) * fixed(0.899_976_223);
    let inner = -(x5 + x3) * fixed(2.562_915_447);
    let crossed = all - (x7 + x3) * fixed(1.961_570_560);
    let straight = all - (x5 + x1) * fixed(0.390_180_644);
    let odd = [
        x1 * fixed(1.501_321_110) + outer + straight,
        x3 * fixed(3.072_711_026) + inner + crossed,
        x5 * fixed(2.053_119_869) + inner + straight,
        x7 * fixed(0.298_631_336) + outer + crossed,
    ];
    let [a, b, c, d] = even;
    let [e, f, g, h] = odd;
    [a + e, b + f, c + g, d + h, d - h, c - g, b - f, a - e]
}
