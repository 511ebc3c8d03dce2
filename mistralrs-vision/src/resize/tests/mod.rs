//! The slow twin, after Pillow-SIMD's and PyTorch's description of the algorithm, and random shapes.

use super::*;
use proptest::prelude::*;

fn weight(filter: Filter, x: f64) -> f64 {
    let x = x.abs();
    let sinc = |x: f64| match x {
        0. => 1.,
        x => (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x),
    };
    match filter {
        Filter::Bilinear if x < 1. => 1. - x,
        Filter::Bicubic if x < 1. => (1.5 * x - 2.5) * x * x + 1.,
        Filter::Bicubic if x < 2. => -0.5 * (((x - 5.) * x + 8.) * x - 4.),
        Filter::Lanczos if x < 3. => sinc(x) * sinc(x / 3.),
        _ => 0.,
    }
}

/// First source position and weights of every target position.
fn taps(source: usize, target: usize, filter: Filter) -> (Vec<(usize, Vec<f64>)>, f64) {
    let radius = match filter {
        Filter::Bilinear => 1.,
        Filter::Bicubic => 2.,
        Filter::Lanczos => 3.,
    };
    let scale = source as f64 / target as f64;
    let stretch = scale.max(1.);
    let support = radius * stretch;
    let mut largest = 0f64;
    let taps = (0..target).map(|i| {
        let center = scale * (i as f64 + 0.5);
        let first = ((center - support + 0.5) as isize).max(0) as usize;
        let end = ((center + support + 0.5) as usize).min(source);
        let inverse = 1. / stretch;
        let raw: Vec<f64> =
            (first..end).map(|j| weight(filter, (j as f64 - center + 0.5) * inverse)).collect();
        let sum: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
        largest = weights.iter().copied().fold(largest, f64::max);
        (first, weights)
    });
    (taps.collect(), largest)
}

/// Along the rows of `[rows, source]` pixels.
fn slow_pass(rgb: &[u8], source: usize, target: usize, filter: Filter) -> Vec<u8> {
    let (taps, largest) = taps(source, target, filter);
    let fits = |bits: u32| ((0.5 + largest * f64::from(1u32 << (bits + 1))) as i64) < (1 << 15);
    let bits = (0..22).find(|bits| !fits(*bits)).unwrap_or(22);
    let fixed = |w: f64| (w * f64::from(1u32 << bits)).round() as i64;
    let mut out = Vec::new();
    for row in rgb.chunks_exact(source * 3) {
        for (first, weights) in &taps {
            for channel in 0..3 {
                let sum: i64 = weights
                    .iter()
                    .enumerate()
                    .map(|(j, w)| fixed(*w) * i64::from(row[(first + j) * 3 + channel]))
                    .sum();
                out.push(((sum + (1 << (bits - 1))) >> bits).clamp(0, 255) as u8);
            }
        }
    }
    out
}

fn transposed(rgb: &[u8], width: usize, height: usize) -> Vec<u8> {
    (0..width)
        .flat_map(|x| (0..height).map(move |y| (y * width + x) * 3))
        .flat_map(|at| rgb[at..at + 3].to_vec())
        .collect()
}

fn slow(picture: &Picture, (width, height): (u32, u32), filter: Filter) -> Vec<u8> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let (width, height) = (width as usize, height as usize);
    let rows = match w == width {
        true => picture.rgb().to_vec(),
        false => slow_pass(picture.rgb(), w, width, filter),
    };
    if h == height {
        return rows;
    }
    let columns = slow_pass(&transposed(&rows, width, h), h, height, filter);
    transposed(&columns, height, width)
}

fn noise(width: u32, height: u32, seed: u64) -> Picture {
    let mut state = seed | 1;
    let rgb = (0..width * height * 3).map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    Picture::new(width, height, rgb.collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_fast_way_equals_the_slow_one_to_the_bit(
        from in (1u32..70, 1u32..70),
        to in (1u32..70, 1u32..70),
        seed: u64,
    ) {
        let picture = noise(from.0, from.1, seed);
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let fast = resize(&picture, to, filter).unwrap();
            prop_assert_eq!((fast.width(), fast.height()), to);
            prop_assert_eq!(fast.rgb(), slow(&picture, to, filter), "{:?} {:?}", filter, to);
        }
    }
}

#[test]
fn large_pictures_too() {
    let picture = noise(1033, 517, 7);
    for to in [(224, 224), (37, 1000), (1033, 100)] {
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let fast = resize(&picture, to, filter).unwrap();
            assert!(fast.rgb() == slow(&picture, to, filter), "{filter:?} {to:?}");
        }
    }
}

#[test]
fn nothing_has_no_size() {
    assert!(resize(&noise(3, 3, 1), (0, 5), Filter::Bicubic).is_err());
    assert!(Filter::from_pillow(0).is_err());
}
