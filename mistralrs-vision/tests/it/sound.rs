//! Log-mel frames against transformers, resampling against scipy with a much longer filter.

use crate::Sampled;
use mistralrs_testkit::{fixture, read_json, shared};
use mistralrs_vision::audio::{AudioLimits, LogMel, decode, resample};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Goldens {
    mel: Vec<Mel>,
    resampled: Vec<Resampled>,
}

#[derive(Deserialize)]
struct Mel {
    name: String,
    len: usize,
    inside: usize,
    #[serde(flatten)]
    values: Sampled,
}

#[derive(Deserialize)]
struct Resampled {
    up: u32,
    down: u32,
    len: usize,
    at: Vec<usize>,
    values: Vec<f64>,
}

fn goldens() -> Goldens {
    read_json(&fixture("vision/sound.json"))
}

fn wave(len: usize) -> Vec<f32> {
    let sample =
        |n: f64| 0.4 * (n * 0.05).sin() + 0.3 * (n * n * 1e-5).sin() + 0.1 * (n * 1.3).sin();
    (0..len).map(|n| sample(n as f64) as f32).collect()
}

fn assert_frames(case: &Mel, samples: &[f32]) {
    let frames = LogMel::from_config(&json!({})).unwrap().samples(samples).unwrap();
    assert_eq!(frames.features.dims(), case.values.shape, "{}", case.name);
    assert_eq!(frames.mask.iter().filter(|inside| **inside).count(), case.inside);
    let values = frames.features.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (found, wanted) in case.values.pairs(&values) {
        // The reference transforms in f32: near the floor (-11.5) its own rounding shows.
        let most = if wanted > -6. { 2e-3 } else { 4e-2 };
        assert!((found - wanted).abs() < most, "{} {}: {found} {wanted}", case.name, case.len);
    }
    let (_, means) = case.values.distances(&values);
    assert!(means < 2e-2, "{} {}: {means}", case.name, case.len);
}

#[test]
fn frames_are_the_reference_s() {
    let cases = goldens().mel;
    let made: Vec<&Mel> = cases.iter().filter(|case| case.name == "wave").collect();
    assert_eq!(made.len(), 4);
    made.into_iter().for_each(|case| assert_frames(case, &wave(case.len)));
}

#[test]
fn recordings_too() {
    let Some(folder) = shared("audio") else { return };
    for case in goldens().mel.iter().filter(|case| case.name != "wave") {
        let file = std::fs::read(folder.join(&case.name)).unwrap();
        let sound = decode(&file, &AudioLimits::default()).unwrap();
        assert_eq!((sound.rate, sound.frames()), (16_000, case.len), "{}", case.name);
        assert_frames(case, &sound.to_mono());
    }
}

/// Stated error: 1e-4 of full scale for a sound below 0.85 of the lower Nyquist frequency.
#[test]
fn resampling_agrees_with_a_longer_filter() {
    let smooth =
        |n: f64| 0.4 * (n * 0.02).sin() + 0.3 * (n * 0.31 + 1.).sin() + 0.2 * (n * 0.7).sin();
    let smooth: Vec<f32> = (0..20_000).map(|n| smooth(f64::from(n)) as f32).collect();
    for case in goldens().resampled {
        let out = resample(&smooth, case.down, case.up).unwrap();
        assert_eq!(out.len(), case.len);
        for (at, wanted) in case.at.into_iter().zip(case.values) {
            let distance = (f64::from(out[at]) - wanted).abs();
            assert!(distance < 1e-4, "{} / {} at {at}: {distance}", case.up, case.down);
        }
    }
}
