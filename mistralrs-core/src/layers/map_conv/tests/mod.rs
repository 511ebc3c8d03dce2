//! Against the tensor library's convolution, over random shapes.

use super::*;
use crate::attention::tests::noise;
use proptest::prelude::*;

fn numbers(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// The kernels' way and the tensor library's.
fn check(weight: [usize; 4], size: (usize, usize), stride: usize) {
    let [out, input, height, width] = weight;
    let (weight, plain) = (noise(&[out, input, height, width], 3), WeightOptions::default());
    let channels = if input == 1 && out > 1 { out } else { input };
    let rows = noise(&[size.0 * size.1, channels], 5);
    let map = FeatureMap { rows, height: size.0, width: size.1 };
    for bias in [None, Some(noise(&[out], 7))] {
        let fast = MapConv::new(&weight, bias.as_ref(), stride, &plain).unwrap();
        let form = Form::Planes(planes(&weight, stride).unwrap());
        assert!(!matches!(fast.form, Form::Planes(_)));
        let slow =
            MapConv { form, ..MapConv::new(&weight, bias.as_ref(), stride, &plain).unwrap() };
        let (found, wanted) = (fast.forward(&map).unwrap(), slow.forward(&map).unwrap());
        let places = (size.0.div_ceil(stride), size.1.div_ceil(stride));
        for map in [&found, &wanted] {
            assert_eq!((map.height, map.width), places);
            assert_eq!(map.rows.dims(), [places.0 * places.1, out]);
        }
        for (found, wanted) in numbers(&found.rows).into_iter().zip(numbers(&wanted.rows)) {
            assert!((found - wanted).abs() < 1e-4, "{:?}: {found} {wanted}", weight.dims());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn maps_are_convolved_as_planes_are(
        out in 1usize..40, input in 1usize..5, kernel in (1usize..6, 1usize..6),
        size in (1usize..12, 1usize..12), stride in 1usize..4,
    ) {
        check([out, input, kernel.0, kernel.1], size, stride);
    }
}

/// So many neighborhoods that they are multiplied in parts.
#[test]
fn large_maps_come_in_parts() {
    check([4, 90, 3, 3], (70, 60), 1);
    check([4, 90, 3, 3], (70, 61), 2);
}

#[test]
fn maps_that_do_not_fit_are_errors() {
    let plain = WeightOptions::default();
    for weight in [&[6, 1, 3, 3][..], &[6, 4, 3, 3]] {
        let conv = MapConv::new(&noise(weight, 1), None, 1, &plain).unwrap();
        let map = |rows, channels| {
            let rows = noise(&[rows, channels], 2);
            conv.forward(&FeatureMap { rows, height: 3, width: 2 })
        };
        let channels = if weight[1] == 1 { 6 } else { 4 };
        assert!(map(6, channels).is_ok());
        assert!(map(5, channels).is_err());
        assert!(map(6, channels + 1).is_err());
        assert!(MapConv::new(&noise(weight, 1), None, 0, &plain).is_err());
    }
    assert!(MapConv::new(&noise(&[6, 1, 3], 1), None, 1, &plain).is_err());
}
