//! Every type against dequantize-then-multiply, and what must be refused.

use super::*;
use candle_core::DType;
use std::path::PathBuf;

/// Numbers between -1 and 1 that repeat for nobody's block length.
pub(crate) fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2. - 1.
    };
    (0..count).map(|_| next() as f32).collect()
}

pub(crate) fn info(shape: &[usize], ty: QuantType) -> TensorInfo {
    TensorInfo {
        name: "layer.weight".to_owned(),
        shape: shape.to_vec(),
        ty,
        file: PathBuf::from("model.gguf"),
    }
}

/// Numbers as a type holds them; for a type that nothing is stored in, blocks of bytes so small that their scales are.
pub(crate) fn stored(numbers: &[f32], cols: usize, ty: QuantType) -> TensorBytes {
    let row_bytes = ty.row_bytes(cols).unwrap();
    let mut bytes = vec![0; numbers.len() / cols * row_bytes];
    if !ty.is_writable() {
        let small = numbers.iter().map(|number| number.to_bits() as u8 & 0x1f);
        bytes.iter_mut().zip(small).for_each(|(byte, small)| *byte = small);
        return TensorBytes::from(&bytes[..]);
    }
    for (row, out) in numbers.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
        ty.quantize_row(row, out);
    }
    TensorBytes::from(&bytes[..])
}

fn packed(rows: usize, cols: usize, ty: QuantType) -> Arc<dyn QuantMethod> {
    let bytes = stored(&noise(rows * cols, 1), cols, ty);
    weight(&info(&[rows, cols], ty), bytes, &WeightOptions::default()).unwrap()
}

fn tensor(numbers: &[f32], cols: usize) -> Tensor {
    Tensor::from_slice(numbers, (numbers.len() / cols, cols), &Device::Cpu).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

/// How far a product may be from the exact one, in units of |x| · |w|. Kernels may round the
/// activations to 8 bits beside blocks, and to bf16 beside half-precision weights.
fn tolerance(ty: QuantType) -> f64 {
    match ty {
        QuantType::F32 => 1e-6,
        QuantType::F16 | QuantType::BF16 => 4e-3,
        _ => 1e-2,
    }
}

#[test]
fn products_equal_dequantize_then_multiply() {
    let cols = 512;
    for &ty in QuantType::ALL {
        for (tokens, rows) in [(1, 1), (1, 37), (5, 16), (19, 67)] {
            let weight = packed(rows, cols, ty);
            let x = noise(tokens * cols, 2);
            let y = weight.forward(&tensor(&x, cols)).unwrap();
            assert_eq!(y.dims(), [tokens, rows]);
            let y = y.to_vec2::<f32>().unwrap();
            let w = weight.dequantize().unwrap().to_vec2::<f32>().unwrap();
            let norm = |v: &[f32]| v.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>().sqrt();
            for (x, y) in x.chunks(cols).zip(&y) {
                for (w, &y) in w.iter().zip(y) {
                    let pairs = x.iter().zip(w);
                    let exact: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                    let error = (f64::from(y) - exact).abs();
                    let bound = tolerance(ty) * norm(x) * norm(w);
                    assert!(error <= bound, "{ty:?} [{tokens}, {rows}]: {error} > {bound}");
                }
            }
        }
    }
}

#[test]
fn a_row_of_a_product_does_not_depend_on_its_neighbors() {
    let (cols, rows) = (256, 33);
    for &ty in QuantType::ALL {
        let weight = packed(rows, cols, ty);
        let x = tensor(&noise(23 * cols, 3), cols);
        let together = weight.forward(&x).unwrap();
        for token in [0, 7, 22] {
            let alone = weight.forward(&x.narrow(0, token, 1).unwrap()).unwrap();
            assert_eq!(bits(&alone), bits(&together.narrow(0, token, 1).unwrap()), "{ty:?}");
        }
    }
}

#[test]
fn rows_are_rows_of_the_whole() {
    let (rows, cols) = (9, 256);
    for &ty in QuantType::ALL {
        let weight = packed(rows, cols, ty);
        let whole = weight.dequantize().unwrap();
        let ids = Tensor::new(&[8_u32, 0, 3, 3], &Device::Cpu).unwrap();
        let found = weight.rows(&ids).unwrap();
        assert_eq!(found.dims(), [4, cols]);
        assert_eq!(bits(&found), bits(&whole.index_select(&ids, 0).unwrap()), "{ty:?}");
        let none = weight.rows(&ids.narrow(0, 0, 0).unwrap()).unwrap();
        assert_eq!(none.dims(), [0, cols]);
    }
    let weight = packed(rows, cols, QuantType::F32);
    let outside = Tensor::new(&[9_u32], &Device::Cpu).unwrap();
    let error = weight.rows(&outside).unwrap_err().to_string();
    assert!(error.contains("row 9 of a weight with 9 rows"), "{error}");
    assert!(weight.rows(&Tensor::new(&[1_i64], &Device::Cpu).unwrap()).is_err());
}

#[test]
fn inputs_may_be_views_and_have_leading_dimensions() {
    let (rows, cols) = (5, 64);
    let weight = packed(rows, cols, QuantType::Q8_0);
    let x = noise(6 * cols, 4);
    let expected = weight.forward(&tensor(&x, cols)).unwrap();
    let batch = Tensor::from_slice(&x, (2, 3, cols), &Device::Cpu).unwrap();
    let y = weight.forward(&batch).unwrap();
    assert_eq!(y.dims(), [2, 3, rows]);
    assert_eq!(bits(&y), bits(&expected));
    // The same numbers, stored column by column.
    let turned = tensor(&x, cols).t().unwrap().contiguous().unwrap().t().unwrap();
    assert!(!turned.is_contiguous());
    assert_eq!(bits(&weight.forward(&turned).unwrap()), bits(&expected));
    let later = tensor(&x, cols).narrow(0, 2, 3).unwrap();
    let expected = expected.narrow(0, 2, 3).unwrap();
    assert_eq!(bits(&weight.forward(&later).unwrap()), bits(&expected));
    let none = weight.forward(&later.narrow(0, 0, 0).unwrap()).unwrap();
    assert_eq!(none.dims(), [0, rows]);
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let weight = packed(5, 64, QuantType::Q4_0);
    let refused = |x: Tensor| weight.forward(&x).unwrap_err().to_string();
    let narrow = Tensor::zeros((2, 63), DType::F32, &Device::Cpu).unwrap();
    let error = refused(narrow);
    assert!(error.contains("[2, 63]") && error.contains("[5, 64]"), "{error}");
    let half = Tensor::zeros((2, 64), DType::F16, &Device::Cpu).unwrap();
    assert!(refused(half).contains("f32"));
    assert!(weight.forward(&Tensor::new(1_f32, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn weights_that_do_not_fit_are_errors() {
    let bytes = |len: usize| TensorBytes::build(len, |_| ());
    let refused = |shape: &[usize], ty, len: usize| {
        weight(&info(shape, ty), bytes(len), &WeightOptions::default()).unwrap_err()
    };
    let error = refused(&[3], QuantType::F32, 12);
    assert!(matches!(error, Error::NotAMatrix { .. }), "{error}");
    let error = refused(&[2, 48], QuantType::Q8_0, 102);
    assert!(matches!(error, Error::NotDivisible { cols: 48, .. }), "{error}");
    let error = refused(&[2, 64], QuantType::Q8_0, 135).to_string();
    for part in ["`layer.weight`", "model.gguf", "135 bytes", "136"] {
        assert!(error.contains(part), "{error}");
    }
    let huge = dense(&info(&[usize::MAX, 3, 64], QuantType::F32), bytes(0));
    assert!(matches!(huge, Err(Error::WrongLength { .. })));
    // Nothing in nothing out.
    let empty =
        weight(&info(&[0, 64], QuantType::Q8_0), bytes(0), &Some(QuantType::Q8_0).into()).unwrap();
    assert_eq!(empty.dequantize().unwrap().dims(), [0, 64]);
    assert_eq!(empty.info().bytes, 0);
}

#[test]
fn dense_tensors_have_any_shape() {
    let numbers = noise(64, 5);
    for shape in [&[64][..], &[2, 32], &[2, 1, 32]] {
        for ty in [QuantType::F32, QuantType::F16, QuantType::Q8_0] {
            let cols = *shape.last().unwrap();
            let tensor = dense(&info(shape, ty), stored(&numbers, cols, ty)).unwrap();
            assert_eq!((tensor.dims(), tensor.dtype()), (shape, DType::F32));
            let read = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (read, number) in read.iter().zip(&numbers) {
                assert!((read - number).abs() <= 0.005, "{ty:?}: {read} for {number}");
            }
        }
    }
    let scalar = dense(&info(&[], QuantType::F32), TensorBytes::from(&1.5_f32.to_le_bytes()[..]));
    assert_eq!(scalar.unwrap().to_scalar::<f32>().unwrap(), 1.5);
}

/// Whatever form a weight takes, it holds the numbers that were stored.
#[test]
fn no_form_changes_a_number() {
    let (rows, cols) = (35, 512);
    for &ty in QuantType::ALL {
        let bytes = stored(&noise(rows * cols, 7), cols, ty);
        let wanted = dequantized(ty, &bytes, ty.row_bytes(cols).unwrap(), cols);
        let weight = weight(&info(&[rows, cols], ty), bytes, &WeightOptions::default()).unwrap();
        let wanted = tensor(&wanted, cols);
        assert_eq!(bits(&weight.dequantize().unwrap()), bits(&wanted), "{ty:?}");
        let ids = Tensor::new(&[34_u32, 0, 16, 15], &Device::Cpu).unwrap();
        let found = weight.rows(&ids).unwrap();
        assert_eq!(bits(&found), bits(&wanted.index_select(&ids, 0).unwrap()), "{ty:?}");
    }
}

#[test]
fn a_weight_shares_the_bytes_it_was_given() {
    let bytes = stored(&noise(64, 6), 32, QuantType::Q4_0);
    let weight =
        weight(&info(&[2, 32], QuantType::Q4_0), bytes.clone(), &WeightOptions::default()).unwrap();
    let WeightInfo { ty, rows, cols, bytes: size, stored, requested } = weight.info();
    assert_eq!(
        (ty, rows, cols, stored, requested),
        (QuantType::Q4_0, 2, 32, QuantType::Q4_0, None)
    );
    assert_eq!(size, bytes.len());
}

#[test]
fn a_weight_that_stays_mapped_is_the_same_weight() {
    let numbers: Vec<u8> = (0..64 * 32).flat_map(|n| (n as f32).sin().to_le_bytes()).collect();
    let info = info(&[64, 32], QuantType::F32);
    let make = |stay_mapped| {
        let options = WeightOptions { stay_mapped, ..Some(QuantType::Q4_0).into() };
        weight(&info, TensorBytes::from(&numbers[..]), &options).unwrap().dequantize().unwrap()
    };
    let (mapped, tiled) = (make(true), make(false));
    assert_eq!(mapped.to_vec2::<f32>().unwrap(), tiled.to_vec2::<f32>().unwrap());
}
