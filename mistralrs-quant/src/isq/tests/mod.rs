//! Quantizing while loading against quantizing row by row, and the choice of the type.

use super::*;
use crate::packed::tests::{info, noise, stored};
use crate::weight;

mod overrides;

#[test]
fn the_type_is_the_one_asked_for_or_the_next_that_divides_a_row() {
    use QuantType::*;
    for (wanted, cols, expected) in [
        (Q4_K, 512, Q4_K),
        (Q4_K, 896, Q5_0),
        (Q5_K, 896, Q5_1),
        (Q6_K, 896, Q8_0),
        (Q2_K, 896, Q4_0),
        (Q3_K, 896, Q4_0),
        (IQ4_XS, 512, IQ4_XS),
        (IQ4_XS, 896, IQ4_NL),
        (Q8_0, 896, Q8_0),
        (Q4_0, 48, F32),
        (Q4_K, 48, F32),
        (BF16, 48, BF16),
    ] {
        let bytes = stored(&noise(2 * cols, 1), cols, F32);
        let weight = weight(&info(&[2, cols], F32), bytes, &Some(wanted).into()).unwrap().info();
        assert_eq!(weight.ty, expected, "{wanted:?} of {cols}");
        assert_eq!((weight.stored, weight.requested), (F32, Some(wanted)));
        assert_eq!(weight.bytes, 2 * expected.row_bytes(cols).unwrap());
    }
}

#[test]
fn types_that_are_only_read_are_refused() {
    let bytes = stored(&noise(512, 1), 512, QuantType::F32);
    let wanted = Some(QuantType::IQ3_S).into();
    let refused = weight(&info(&[1, 512], QuantType::F32), bytes, &wanted).unwrap_err().to_string();
    assert!(refused.contains("IQ3_S") && refused.contains("`layer.weight`"), "{refused}");
}

#[test]
fn quantizing_in_parallel_equals_row_by_row() {
    let (rows, cols) = (70, 512);
    for from in [QuantType::F32, QuantType::F16, QuantType::BF16] {
        let bytes = stored(&noise(rows * cols, 2), cols, from);
        let mut numbers = vec![0.; rows * cols];
        let from_row = from.row_bytes(cols).unwrap();
        for (bytes, row) in bytes.chunks(from_row).zip(numbers.chunks_mut(cols)) {
            from.dequantize_row(bytes, row);
        }
        for &to in QuantType::ALL.iter().filter(|&&to| to != from && to.is_writable()) {
            let quantized = requantize(bytes.clone(), from, to, cols);
            assert_eq!(&*quantized, &*stored(&numbers, cols, to), "{from:?} to {to:?}");
            let weight =
                weight(&info(&[rows, cols], from), bytes.clone(), &Some(to).into()).unwrap();
            assert_eq!(weight.info().ty, to);
            let back = weight.dequantize().unwrap().flatten_all().unwrap();
            let back = back.to_vec1::<f32>().unwrap();
            let error = back.iter().zip(&numbers).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let size = numbers.iter().map(|x| x.powi(2)).sum::<f32>();
            // Two bits keep about four fifths of uniform noise; the bound is for the worst type.
            assert!((error / size).sqrt() < 0.3, "{to:?}: {}", (error / size).sqrt());
        }
    }
}

#[test]
fn nothing_to_convert_leaves_the_bytes_alone() {
    let bytes = stored(&noise(64, 3), 32, QuantType::Q8_0);
    let unchanged = requantize(bytes.clone(), QuantType::Q8_0, QuantType::Q8_0, 32);
    assert_eq!(unchanged.as_ptr(), bytes.as_ptr());
    let same =
        weight(&info(&[2, 32], QuantType::Q8_0), bytes, &Some(QuantType::Q8_0).into()).unwrap();
    assert_eq!(same.info().ty, QuantType::Q8_0);
}

#[test]
fn quantized_weights_are_not_quantized_again() {
    let bytes = stored(&noise(64, 4), 32, QuantType::Q8_0);
    let error =
        weight(&info(&[2, 32], QuantType::Q8_0), bytes, &Some(QuantType::Q4_0).into()).unwrap_err();
    let error = error.to_string();
    for part in ["`layer.weight`", "model.gguf", "already Q8_0", "Q4_0"] {
        assert!(error.contains(part), "{error}");
    }
}
