//! Biases and merged layers against their parts.

use super::*;
use crate::packed::tests::{info, noise, stored};
use crate::{QuantType, WeightOptions, weight};
use candle_core::{DType, Device};

fn vector(numbers: &[f32]) -> Tensor {
    Tensor::new(numbers, &Device::Cpu).unwrap()
}

fn layer(rows: usize, cols: usize, ty: QuantType, bias: Option<Tensor>) -> Linear {
    let bytes = stored(&noise(rows * cols, 7), cols, ty);
    Linear::new(weight(&info(&[rows, cols], ty), bytes, &WeightOptions::default()).unwrap(), bias)
}

/// The rows of one weight, handed out part by part.
#[test]
fn a_stacked_layer_gives_what_its_rows_give() {
    let whole = layer(10, 64, QuantType::F32, Some(vector(&noise(10, 3))));
    let merged = MergedLinear::stacked(whole.clone(), vec![5, 2, 3]);
    let x = input(3, 64);
    let all = whole.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    let parts = merged.forward(&x).unwrap();
    for (part, columns) in parts.into_iter().zip([0..5, 5..7, 7..10]) {
        let wanted: Vec<_> = all.iter().map(|row| row[columns.clone()].to_vec()).collect();
        assert_eq!(part.to_vec2::<f32>().unwrap(), wanted);
    }
    assert!(MergedLinear::stacked(whole, vec![5, 6]).forward(&x).is_err());
}

/// The same where parts are whole tiles, and where one is not.
#[test]
fn a_stacked_layer_in_tiles_gives_what_its_rows_give() {
    let whole = layer(83, 256, QuantType::Q8_0, Some(vector(&noise(83, 3))));
    let x = input(11, 256);
    let all = whole.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    for rows in [[48, 16, 19], [40, 24, 19]] {
        let mut start = 0;
        for part in MergedLinear::stacked(whole.clone(), rows.to_vec()).forward(&x).unwrap() {
            let part = part.to_vec2::<f32>().unwrap();
            let width = part[0].len();
            let wanted: Vec<_> = all.iter().map(|y| y[start..start + width].to_vec()).collect();
            assert_eq!(part, wanted);
            start += width;
        }
        assert_eq!(start, 83);
    }
}

/// Parts that share their rounded input where the processor has kernels for tiles.
#[test]
fn merged_layers_of_many_rows_give_what_their_parts_give() {
    let parts = vec![
        layer(48, 256, QuantType::Q4_K, Some(vector(&noise(48, 10)))),
        layer(17, 256, QuantType::Q6_K, None),
        layer(16, 256, QuantType::Q8_0, Some(vector(&noise(16, 11)))),
    ];
    let merged = MergedLinear::new(parts.clone());
    let batch = input(6, 256).reshape((2, 3, 256)).unwrap();
    for x in [input(1, 256), input(9, 256), input(256, 4).t().unwrap(), batch] {
        let together = merged.forward(&x).unwrap();
        assert_eq!(together.len(), 3);
        for (part, y) in parts.iter().zip(together) {
            let alone = part.forward(&x).unwrap();
            assert_eq!(y.dims(), alone.dims());
            let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(numbers(y), numbers(alone));
        }
    }
    assert!(merged.forward(&input(0, 256)).unwrap().iter().all(|y| y.elem_count() == 0));
    assert!(merged.forward(&input(1, 224)).is_err());
}

/// Gate, up and down in one pass, where they take their inputs alike; gate and up may be stored as one.
#[test]
fn a_gated_pass_is_its_parts_joined() {
    let pair = |ty, rows, bias| {
        let second = stored(&noise(64 * 256, 12), 256, ty);
        let up = weight(&info(&[64, 256], ty), second, &WeightOptions::default()).unwrap();
        MergedLinear::new(vec![layer(rows, 256, ty, bias), Linear::new(up, None)])
    };
    let bias = || Some(vector(&noise(24, 3)));
    let gate_bias = || Some(vector(&noise(64, 5)));
    for (ty, last) in [
        (QuantType::Q4_K, QuantType::Q8_0),
        (QuantType::Q8_0, QuantType::Q4_0),
        (QuantType::BF16, QuantType::BF16),
        (QuantType::F16, QuantType::F32),
    ] {
        for (gating, join) in [
            (Gating::Silu, mistralrs_kernels::silu_mul as fn(&[f32], &[f32], &mut [f32])),
            (Gating::GeluTanh, mistralrs_kernels::gelu_tanh_mul),
        ] {
            for x in [input(1, 256), input(21, 256)] {
                let merged = match last {
                    QuantType::Q8_0 => {
                        let whole = layer(128, 256, ty, Some(vector(&noise(128, 4))));
                        MergedLinear::stacked(whole, vec![64; 2])
                    }
                    _ => pair(ty, 64, gate_bias()),
                };
                let parts = merged.forward(&x).unwrap();
                let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let mut joined = vec![0.; x.dims()[0] * 64];
                join(&numbers(&parts[0]), &numbers(&parts[1]), &mut joined);
                let joined = Tensor::from_vec(joined, (x.dims()[0], 64), &Device::Cpu).unwrap();
                let down = layer(24, 64, last, bias());
                match merged.gated(&x, gating, &down).unwrap() {
                    Some(y) => {
                        assert_eq!(y.dims(), [x.dims()[0], 24]);
                        let wanted = down.forward(&joined).unwrap();
                        assert_eq!(numbers(&y), numbers(&wanted), "{ty:?}");
                    }
                    // Without tiles there is nothing to compute together.
                    None => assert_eq!(mistralrs_kernels::instruction_set(), "scalar"),
                }
            }
        }
    }
    let x = input(2, 256);
    let down = |cols, ty| layer(24, cols, ty, None);
    let gated = |merged: MergedLinear, down| merged.gated(&x, Gating::Silu, &down).unwrap();
    let q8 = QuantType::Q8_0;
    assert!(gated(pair(q8, 64, Some(vector(&noise(63, 1)))), down(64, q8)).is_none());
    assert!(gated(pair(q8, 32, None), down(64, q8)).is_none());
    assert!(gated(pair(q8, 64, None), down(32, q8)).is_none());
    assert!(gated(pair(q8, 64, None), down(64, QuantType::F32)).is_none());
}

fn input(tokens: usize, cols: usize) -> Tensor {
    Tensor::from_vec(noise(tokens * cols, 8), (tokens, cols), &Device::Cpu).unwrap()
}

#[test]
fn a_bias_is_added_to_every_row() {
    let x = input(3, 32);
    let bias = noise(5, 9);
    let without = layer(5, 32, QuantType::Q8_0, None).forward(&x).unwrap();
    let with = layer(5, 32, QuantType::Q8_0, Some(vector(&bias)));
    let expected = without.broadcast_add(&vector(&bias)).unwrap();
    for _ in 0..2 {
        let y = with.forward(&x).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
    }
    // A view of a longer tensor is a bias too.
    let longer = vector(&[&[9.][..], &bias].concat()).narrow(0, 1, 5).unwrap();
    let y = layer(5, 32, QuantType::Q8_0, Some(longer)).forward(&x).unwrap();
    assert_eq!(y.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
}

#[test]
fn a_bias_that_does_not_fit_is_an_error() {
    let x = input(5, 32);
    for bias in [
        Tensor::zeros(4, DType::F32, &Device::Cpu),
        Tensor::zeros(25, DType::F32, &Device::Cpu),
        Tensor::zeros((1, 5), DType::F32, &Device::Cpu),
        Tensor::zeros(5, DType::F16, &Device::Cpu),
    ] {
        let layer = layer(5, 32, QuantType::F32, Some(bias.unwrap()));
        assert!(layer.forward(&x).is_err(), "{layer:?}");
    }
}

#[test]
fn a_merged_layer_gives_what_its_parts_give() {
    let parts = vec![
        layer(6, 256, QuantType::Q4_K, Some(vector(&noise(6, 10)))),
        layer(2, 256, QuantType::Q6_K, None),
        layer(2, 256, QuantType::F16, Some(vector(&noise(2, 11)))),
    ];
    let merged = MergedLinear::new(parts.clone());
    for x in [input(1, 256), input(4, 256), input(256, 4).t().unwrap()] {
        let together = merged.forward(&x).unwrap();
        assert_eq!(together.len(), 3);
        for (part, y) in parts.iter().zip(together) {
            let alone = part.forward(&x).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(y.to_vec2::<f32>().unwrap(), alone);
        }
    }
    assert!(merged.forward(&input(1, 255)).is_err());
}
