//! The table's own consistency, the formats against reference blocks, and round trips.

use super::*;
use crate::dispatch;
use proptest::prelude::*;
use std::path::Path;

#[test]
fn a_type_is_its_own_index() {
    assert_eq!(TABLE.len(), QuantType::ALL.len());
    for (i, ty) in QuantType::ALL.iter().enumerate() {
        assert_eq!(TABLE[i].ty, *ty);
        assert_eq!(*ty as usize, i);
        assert_eq!(QuantType::from_gguf_id(ty.gguf_id()), Some(*ty));
        assert_eq!(QuantType::from_name(ty.name()), Some(*ty));
    }
}

#[test]
#[should_panic(expected = "no numbers are stored as IQ2_XS")]
fn types_that_are_only_read_are_not_written() {
    QuantType::IQ2_XS.quantize_row(&[0.0; 256], &mut [0; 74]);
}

#[test]
fn names_are_found_in_any_spelling() {
    for name in ["Q4_K", "q4_k", "q4k", "Q4K"] {
        assert_eq!(QuantType::from_name(name), Some(QuantType::Q4_K), "{name}");
    }
    assert_eq!(QuantType::from_name("q40"), Some(QuantType::Q4_0));
    assert_eq!(QuantType::from_name("bf16"), Some(QuantType::BF16));
    assert_eq!(QuantType::from_name("q4"), None);
    assert_eq!(QuantType::from_name(""), None);
    assert_eq!(QuantType::from_gguf_id(4), None);
}

#[test]
fn row_bytes_refuses_broken_blocks_and_overflow() {
    assert_eq!(QuantType::Q4_K.row_bytes(512), Some(288));
    assert_eq!(QuantType::Q4_K.row_bytes(0), Some(0));
    assert_eq!(QuantType::Q4_K.row_bytes(255), None);
    assert_eq!(QuantType::F32.row_bytes(usize::MAX), None);
}

fn dequantize_on(isa: Isa, ty: QuantType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / ty.block_bytes() * ty.block_len()];
    // SAFETY: tests pass only instruction sets that are present.
    unsafe { (ty.dequantizer(isa))(bytes, &mut out) };
    out
}

fn quantize_on(isa: Isa, ty: QuantType, x: &[f32]) -> Vec<u8> {
    let mut out = vec![0xaa; ty.row_bytes(x.len()).unwrap()];
    // SAFETY: tests pass only instruction sets that are present.
    unsafe { (ty.row().quantize.as_ref().unwrap().get(isa))(x, &mut out) };
    out
}

fn isas() -> impl Iterator<Item = Isa> {
    dispatch::all_kernels().map(|kernels| kernels.isa)
}

/// Files made by `scripts/make_block_fixtures.py` with the `gguf` Python package.
#[test]
fn blocks_dequantize_to_the_reference_bits() {
    for ty in QuantType::ALL {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(format!("{}.bin", ty.name()));
        let file = std::fs::read(&path).unwrap();
        let blocks = file.len() / (ty.block_bytes() + 4 * ty.block_len());
        let (stored, numbers) = file.split_at(blocks * ty.block_bytes());
        assert!(blocks > 0 && numbers.len() == blocks * ty.block_len() * 4);
        let wanted: Vec<u32> =
            numbers.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        for isa in isas() {
            let found = dequantize_on(isa, *ty, stored);
            let found: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
            assert_eq!(found, wanted, "{} on {}", ty.name(), isa.name());
        }
    }
}

/// Numbers like a weight matrix's: a bell curve from the sum of uniform numbers.
fn bell(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        // Knuth's 64-bit linear congruential generator
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| (0..6).map(|_| uniform()).sum::<f32>() * 0.03).collect()
}

/// Root of the mean squared error relative to that of the numbers.
fn relative_error(x: &[f32], y: &[f32]) -> f64 {
    let miss: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let size: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    (miss / size).sqrt()
}

#[test]
fn round_trips_stay_within_each_types_error() {
    // Bell-curved weights; a little above what ggml's reference quantizers reach on such numbers.
    let bounds = [
        (QuantType::F32, 0.0),
        (QuantType::F16, 3e-4),
        (QuantType::BF16, 2e-3),
        (QuantType::Q4_0, 0.088),
        (QuantType::Q4_1, 0.079),
        (QuantType::Q5_0, 0.044),
        (QuantType::Q5_1, 0.038),
        (QuantType::Q8_0, 0.0056),
        (QuantType::Q2_K, 0.30),
        (QuantType::Q3_K, 0.15),
        (QuantType::Q4_K, 0.073),
        (QuantType::Q5_K, 0.036),
        (QuantType::Q6_K, 0.018),
        (QuantType::IQ4_NL, 0.08),
        (QuantType::IQ4_XS, 0.08),
    ];
    assert_eq!(bounds.len(), writable().count());
    let x = bell(1, 64 * 256);
    for (ty, bound) in bounds {
        let mut stored = vec![0; ty.row_bytes(x.len()).unwrap()];
        ty.quantize_row(&x, &mut stored);
        let mut y = vec![0.0; x.len()];
        ty.dequantize_row(&stored, &mut y);
        let error = relative_error(&x, &y);
        println!("{} {error:.5}", ty.name());
        assert!(error <= bound, "{}: {error} above {bound}", ty.name());
        if bound > 0.0 {
            assert!(error > bound * 0.5, "{}: {error} leaves {bound} loose", ty.name());
        }
    }
}

fn writable() -> impl Iterator<Item = QuantType> {
    QuantType::ALL.iter().copied().filter(|ty| ty.is_writable())
}

/// Numbers as a type holds them, or blocks of random bytes, with numbers of about the same size, where none are stored
/// in it.
pub(crate) fn stored(ty: QuantType, x: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; ty.row_bytes(x.len()).unwrap()];
    if ty.is_writable() {
        ty.quantize_row(x, &mut bytes);
        return bytes;
    }
    let mut seed = x.iter().fold(1u32, |seed, x| seed.rotate_left(5) ^ x.to_bits());
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        for byte in block.iter_mut() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        let [low, high] =
            half::f16::from_f32(0.003 + 0.001 * f32::from(block[9] % 4)).to_le_bytes();
        if ty == QuantType::IQ1_M {
            for (at, nibble) in [low & 15, low >> 4, high & 15, high >> 4].into_iter().enumerate() {
                block[49 + 2 * at] = block[49 + 2 * at] & 15 | nibble << 4;
            }
        } else {
            [block[0], block[1]] = [low, high];
        }
    }
    bytes
}

fn any_type() -> impl Strategy<Value = QuantType> {
    (0..QuantType::ALL.len()).prop_map(|i| QuantType::ALL[i])
}

fn any_writable() -> impl Strategy<Value = QuantType> {
    (0..writable().count()).prop_map(|i| writable().nth(i).unwrap())
}

/// Numbers of every kind: ordinary, huge, tiny, equal, infinite, NaN.
fn any_numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    let number = prop_oneof![
        20 => -1.0f32..1.0,
        2 => Just(0.0f32),
        2 => any::<f32>(),
        1 => Just(f32::MAX),
        1 => Just(f32::NAN),
    ];
    prop_oneof![
        proptest::collection::vec(number, len),
        proptest::collection::vec(-1e-3f32..1e-3, len),
        proptest::collection::vec(0.5f32..0.6, len),
        any::<f32>().prop_map(move |x| vec![x; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_instruction_set_stores_the_same_bytes(ty in any_writable(), x in any_numbers(512)) {
        let wanted = quantize_on(Isa::Scalar, ty, &x);
        for isa in isas() {
            prop_assert_eq!(&quantize_on(isa, ty, &x), &wanted, "{}", isa.name());
        }
    }

    #[test]
    fn every_instruction_set_reads_the_same_numbers(
        ty in any_type(),
        blocks in 1usize..5,
        offset in 0usize..4,
        bytes in proptest::collection::vec(any::<u8>(), 4 * 256 + 4),
    ) {
        let bytes = &bytes[offset..offset + blocks * ty.block_bytes()];
        let bits = |isa| -> Vec<u32> {
            let numbers = dequantize_on(isa, ty, bytes);
            numbers.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect()
        };
        let wanted = bits(Isa::Scalar);
        for isa in isas() {
            prop_assert_eq!(&bits(isa), &wanted, "{}", isa.name());
        }
    }

    #[test]
    fn quantized_numbers_are_finite_and_near(ty in any_writable(), x in any_numbers(256)) {
        let mut stored = vec![0; ty.row_bytes(x.len()).unwrap()];
        ty.quantize_row(&x, &mut stored);
        let mut y = vec![f32::NAN; x.len()];
        ty.dequantize_row(&stored, &mut y);
        let peak = x.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        let is_ordinary = peak < 1e3 && peak > 1e-3 && x.iter().all(|x| x.is_finite());
        if ty.block_len() > 1 {
            prop_assert!(y.iter().all(|y| y.is_finite()));
        }
        // No weight may be off by more than a step of the coarsest grid over the block's range.
        if is_ordinary {
            let bits = (ty.block_bytes() * 8 / ty.block_len()).min(8) as i32;
            let step = 2.0 * peak * 0.5f32.powi(bits - 1);
            for (x, y) in x.iter().zip(&y) {
                prop_assert!((x - y).abs() <= step, "{x} became {y}, step {step}");
            }
        }
    }
}
