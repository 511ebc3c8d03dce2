//! Against this project's kernels, whose weights the same bytes make.

use super::*;
use crate::packed::tests::{info, noise, stored};
use crate::{Linear, MergedLinear, WeightOptions, weight};
use std::sync::Arc;

/// A second device, as far as the tests go: candle mixes no types.
fn elsewhere() -> Place {
    Place::new(Device::Cpu, DType::F64)
}

fn at(place: Place, rows: usize, cols: usize, ty: QuantType) -> Arc<dyn QuantMethod> {
    let options = WeightOptions { place, ..WeightOptions::default() };
    weight(&info(&[rows, cols], ty), stored(&noise(rows * cols, 1), cols, ty), &options).unwrap()
}

fn tensor(numbers: &[f32], cols: usize, place: &Place) -> Tensor {
    place.take(&Tensor::from_slice(numbers, ((), cols), &Device::Cpu).unwrap()).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// By how much two results differ, by the size of the first.
fn difference(wanted: &Tensor, found: &Tensor) -> f64 {
    assert_eq!(wanted.dims(), found.dims());
    let (wanted, found) = (numbers(wanted), numbers(found));
    let size: f64 = wanted.iter().map(|x| x * x).sum();
    let off: f64 = wanted.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum();
    (off / size).sqrt()
}

#[test]
fn every_type_is_multiplied_as_by_the_kernels() {
    let (rows, cols) = (37, 512);
    for &ty in QuantType::ALL {
        let (here, there) = (at(Place::default(), rows, cols, ty), at(elsewhere(), rows, cols, ty));
        let x = noise(5 * cols, 2);
        let wanted = here.forward(&tensor(&x, cols, &Place::default())).unwrap();
        let found = there.forward(&tensor(&x, cols, &elsewhere())).unwrap();
        assert_eq!(found.dtype(), DType::F64);
        // The kernels round activations to bytes beside blocks.
        assert!(difference(&wanted, &found) < 2e-2, "{ty:?}");
        let ids = Tensor::new(&[36_u32, 0, 3, 3], &Device::Cpu).unwrap();
        assert_eq!(numbers(&here.rows(&ids).unwrap()), numbers(&there.rows(&ids).unwrap()));
        assert_eq!(numbers(&here.dequantize().unwrap()), numbers(&there.dequantize().unwrap()));
        assert_eq!(there.info().ty, ty);
        assert!(there.forward(&tensor(&x, cols, &Place::default())).is_err(), "types are mixed");
        assert!(there.rows(&Tensor::new(&[37_u32], &Device::Cpu).unwrap()).is_err());
    }
}

/// As on an accelerator: blocks as candle multiplies them, halves as they are.
#[test]
fn blocks_and_halves_stay_what_they_are() {
    let (rows, cols) = (37, 512);
    for &ty in QuantType::ALL {
        let bytes = stored(&noise(rows * cols, 1), cols, ty);
        let options = WeightOptions { stay_mapped: true, ..WeightOptions::default() };
        let here = weight(&info(&[rows, cols], ty), bytes.clone(), &options).unwrap();
        let placed = Placed::new(Packed::stored(bytes, here.info()), &Place::default()).unwrap();
        let kept = match &placed.numbers {
            Numbers::Blocks(QMatMul::QTensor(blocks)) => ggml(ty) == Some(blocks.dtype()),
            Numbers::Blocks(_) => false,
            Numbers::Plain(weight) => halves(ty).unwrap_or(DType::F32) == weight.dtype(),
        };
        assert!(kept, "{ty:?}");
        if ty == QuantType::BF16 {
            // candle does not multiply these on the CPU.
            continue;
        }
        let x = tensor(&noise(5 * cols, 2), cols, &Place::default());
        let (wanted, found) = (here.forward(&x).unwrap(), placed.forward(&x).unwrap());
        assert!(difference(&wanted, &found) < 2e-2, "{ty:?}");
        assert_eq!(numbers(&here.dequantize().unwrap()), numbers(&placed.dequantize().unwrap()));
    }
}

#[test]
fn quantized_while_loading_and_layers_of_several_parts() {
    let (rows, cols) = (48, 256);
    let isq = Some(QuantType::Q8_0);
    let make = |place: Place| {
        let options = WeightOptions { isq: isq.into(), place, ..WeightOptions::default() };
        let bytes = stored(&noise(rows * cols, 1), cols, QuantType::F32);
        weight(&info(&[rows, cols], QuantType::F32), bytes, &options).unwrap()
    };
    let (here, there) = (make(Place::default()), make(elsewhere()));
    let ids = Tensor::new(&[47_u32, 1], &Device::Cpu).unwrap();
    assert_eq!(numbers(&here.rows(&ids).unwrap()), numbers(&there.rows(&ids).unwrap()));
    let layer = |weight: &Arc<dyn QuantMethod>, place: &Place| {
        let bias = tensor(&noise(rows, 5), rows, place).squeeze(0).unwrap();
        Linear::new(Arc::clone(weight), Some(bias))
    };
    let x = noise(3 * cols, 2);
    let merged = |weight: &Arc<dyn QuantMethod>, place: Place| {
        let x = tensor(&x, cols, &place);
        let apart = MergedLinear::new(vec![layer(weight, &place), layer(weight, &place)]);
        let stacked = MergedLinear::stacked(layer(weight, &place), vec![32, 16]);
        let mut all = apart.forward(&x).unwrap();
        all.extend(stacked.forward(&x).unwrap());
        all
    };
    let pairs = merged(&here, Place::default()).into_iter().zip(merged(&there, elsewhere()));
    let widths: Vec<_> = pairs
        .map(|(wanted, found)| {
            assert!(difference(&wanted, &found) < 2e-2);
            wanted.dim(1).unwrap()
        })
        .collect();
    assert_eq!(widths, [48, 48, 32, 16]);
}

/// What the map of layers counts is what a weight takes.
#[test]
fn sizes_are_what_is_taken() {
    let (rows, cols) = (32, 512);
    for &ty in QuantType::ALL {
        let bytes = stored(&noise(rows * cols, 1), cols, ty);
        let size = bytes.len() as u64;
        let options = WeightOptions { stay_mapped: true, ..WeightOptions::default() };
        let stored = weight(&info(&[rows, cols], ty), bytes.clone(), &options).unwrap().info();
        let stored = Packed::stored(bytes.clone(), stored);
        let placed = Placed::new(stored, &Place::default()).unwrap();
        let taken = match &placed.numbers {
            Numbers::Blocks(QMatMul::QTensor(blocks)) => blocks.storage_size_in_bytes(),
            Numbers::Blocks(_) => 0,
            Numbers::Plain(weight) => weight.elem_count() * weight.dtype().size_in_bytes(),
        };
        let packed = weight(&info(&[rows, cols], ty), bytes, &WeightOptions::default());
        let here = packed.unwrap().info().bytes as u64;
        let size = WeightSize::of(ty, size);
        assert_eq!(size.there, taken as u64, "{ty:?}");
        assert!(size.here == here || ty == QuantType::BF16 && here < size.here, "{ty:?}");
    }
}
