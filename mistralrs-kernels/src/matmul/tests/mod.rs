//! Each instruction set against the oracle; batch invariance to the bit.

use super::*;
use crate::dispatch::all_kernels;
use crate::scalar;
use proptest::prelude::*;

/// A call's operands; `x` starts `offset` numbers into its memory.
struct Case {
    ty: QuantType,
    rows: usize,
    cols: usize,
    m: usize,
    bytes: Vec<u8>,
    x: Vec<f32>,
    offset: usize,
}

impl Case {
    fn weights(&self) -> WeightRows<'_> {
        WeightRows {
            ty: self.ty,
            bytes: &self.bytes[self.offset..],
            rows: self.rows,
            cols: self.cols,
        }
    }

    fn x(&self) -> &[f32] {
        &self.x[self.offset..]
    }
}

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn case(ty: QuantType, (rows, cols, m): (usize, usize, usize), seed: u64) -> Case {
    let offset = (seed % 4) as usize;
    let stored = crate::quant_type::tests::stored(ty, &noise(seed, rows * cols));
    let bytes = [vec![0; offset], stored].concat();
    let x = noise(seed + 1, offset + m * cols);
    Case { ty, rows, cols, m, bytes, x, offset }
}

/// `(type, (rows, cols, m), seed)`
fn any_case() -> impl Strategy<Value = (QuantType, (usize, usize, usize), u32)> {
    let ty = (0..QuantType::ALL.len()).prop_map(|i| QuantType::ALL[i]);
    (ty, 1usize..66, 1usize..66, 1usize..40, any::<u32>()).prop_map(|(ty, rows, cols, m, seed)| {
        // Blocks of 32: up to 20 of them, to cross a chunk's end; blocks of 256: up to 5.
        let cols = match ty.block_len() {
            1 => cols,
            32 => (cols % 20 + 1) * 32,
            len => (cols % 5 + 1) * len,
        };
        (ty, (rows, cols, m), seed)
    })
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// The sum's rounding grows with the sum of magnitudes, not with the sum.
fn tolerance(case: &Case, i: usize, j: usize) -> f64 {
    let mut w = vec![0.0; case.cols];
    let row_bytes = case.ty.row_bytes(case.cols).unwrap();
    case.ty.dequantize_row(&case.weights().bytes[j * row_bytes..][..row_bytes], &mut w);
    let x = &case.x()[i * case.cols..];
    let size: f64 = w.iter().zip(x).map(|(w, x)| f64::from((w * x).abs())).sum();
    size * 4.0 * f64::from(f32::EPSILON) * (1.0 + case.cols as f64 / 64.0)
}

fn check_case(case: &Case) -> Result<(), TestCaseError> {
    let mut wanted = vec![0.0; case.m * case.rows];
    scalar::matmul(&case.weights(), case.x(), &mut wanted);
    for kernels in all_kernels() {
        let mut y = vec![f32::NAN; case.m * case.rows];
        multiply_on(kernels, &case.weights(), case.x(), &mut y);
        for (at, (found, wanted)) in y.iter().zip(&wanted).enumerate() {
            let (i, j) = (at / case.rows, at % case.rows);
            let miss = (f64::from(*found) - f64::from(*wanted)).abs();
            prop_assert!(
                miss <= tolerance(case, i, j),
                "{}: y[{i}, {j}] is {found}, not {wanted}",
                kernels.isa.name()
            );
        }
        // Each row alone, and each weight row alone, gives the same bits.
        let row_bytes = case.ty.row_bytes(case.cols).unwrap();
        for i in [0, case.m / 2, case.m - 1] {
            let mut alone = vec![f32::NAN; case.rows];
            let x = &case.x()[i * case.cols..][..case.cols];
            multiply_on(kernels, &case.weights(), x, &mut alone);
            prop_assert_eq!(bits(&alone), bits(&y[i * case.rows..][..case.rows]));
            let j = i % case.rows;
            let one = WeightRows {
                rows: 1,
                bytes: &case.weights().bytes[j * row_bytes..][..row_bytes],
                ..case.weights()
            };
            let mut single = [f32::NAN];
            multiply_on(kernels, &one, x, &mut single);
            prop_assert_eq!(single[0].to_bits(), y[i * case.rows + j].to_bits());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn products_match_the_oracle_and_never_depend_on_the_batch((ty, shape, seed) in any_case()) {
        check_case(&case(ty, shape, u64::from(seed)))?;
    }
}

/// Shapes large enough for several threads, panels and chunks.
#[test]
fn large_products_match_too() {
    for (ty, shape) in [
        (QuantType::Q4_K, (130, 1536, 1)),
        (QuantType::Q8_0, (130, 1056, 5)),
        (QuantType::Q6_K, (70, 1280, 37)),
        (QuantType::F32, (67, 1111, 21)),
        (QuantType::BF16, (131, 700, 16)),
        (QuantType::F16, (131, 700, 17)),
    ] {
        check_case(&case(ty, shape, 7)).unwrap();
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let case = case(QuantType::Q5_0, (200, 640, 33), 3);
    let run = |threads| {
        let mut y = vec![0.0; case.m * case.rows];
        let threads = std::num::NonZeroUsize::new(threads).unwrap();
        pool::with_threads(threads, || matmul(&case.weights(), case.x(), &mut y));
        bits(&y)
    };
    let one = run(1);
    assert_eq!(run(2), one);
    assert_eq!(run(7), one);
}

#[test]
fn extreme_numbers_pass_through() {
    let weights: Vec<u8> =
        [1.0f32, 2.0, f32::NAN, 0.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    let w = WeightRows { ty: QuantType::F32, bytes: &weights, rows: 2, cols: 2 };
    for kernels in all_kernels() {
        let mut y = [0.0; 4];
        multiply_on(kernels, &w, &[1.0, f32::INFINITY, 3.0, -4.0], &mut y);
        assert_eq!((y[0], y[2]), (f32::INFINITY, -5.0), "{}", kernels.isa.name());
        assert!(y[1].is_nan() && y[3].is_nan());
    }
}

#[test]
fn empty_operands_are_no_error() {
    let none = WeightRows { ty: QuantType::F32, bytes: &[], rows: 0, cols: 8 };
    matmul(&none, &[], &mut []);
    let thin = WeightRows { ty: QuantType::F32, bytes: &[], rows: 2, cols: 0 };
    let mut y = [7.0; 4];
    matmul(&thin, &[], &mut y);
    assert_eq!(y, [0.0; 4]);
}

#[test]
#[should_panic(expected = "x is not")]
fn short_activations_are_refused() {
    let w = WeightRows { ty: QuantType::F32, bytes: &[0; 16], rows: 2, cols: 2 };
    matmul(&w, &[0.0; 3], &mut [0.0; 4]);
}

#[test]
#[should_panic(expected = "bytes of")]
fn short_weights_are_refused() {
    let w = WeightRows { ty: QuantType::Q8_0, bytes: &[0; 33], rows: 1, cols: 32 };
    matmul(&w, &[0.0; 32], &mut [0.0; 1]);
}
