//! Sound files against libsndfile, log-mel frames against transformers, resampling against scipy with a
//! much longer filter.

use crate::Sampled;
use candle_core::{Device, safetensors};
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

/// Three channels lie in WAV's order: left, right, center. libsndfile leaves those of Vorbis as they are in the file.
fn in_order(name: &str, samples: Vec<f32>) -> Vec<f32> {
    let turned = |frame: &[f32]| [frame[0], frame[2], frame[1]];
    match name {
        "three.ogg" => samples.chunks_exact(3).flat_map(turned).collect(),
        _ => samples,
    }
}

/// Stated error: none where nothing is lost; 1e-4 of full scale where decoders round as they like.
#[test]
fn every_kind_of_sound_is_read_as_libsndfile_reads_it() {
    let files = safetensors::load(fixture("vision/sounds.safetensors"), &Device::Cpu).unwrap();
    let (mut seen, mut found) = (0, Vec::new());
    for (key, file) in &files {
        let Some(name) = key.strip_suffix("/file") else { continue };
        seen += 1;
        let (frames, channels) = files[&format!("{name}/samples")].dims2().unwrap();
        let wanted = files[&format!("{name}/samples")].flatten_all().unwrap();
        let rate = files[&format!("{name}/rate")].to_vec1::<i64>().unwrap()[0];
        let sound = decode(&file.to_vec1::<u8>().unwrap(), &AudioLimits::default()).unwrap();
        let form = (sound.frames(), sound.channels, i64::from(sound.rate));
        let wanted = in_order(name, wanted.to_vec1().unwrap());
        let worst = sound.samples.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0., f32::max);
        let lossy = name.ends_with(".mp3") || name.ends_with(".ogg");
        let most = if lossy { 1e-4 } else { 0. };
        if form != (frames, channels, rate) || worst > most {
            found.push(format!("{name}: {form:?}, not {frames} × {channels}; off by {worst:e}"));
        }
    }
    assert_eq!(seen, 14);
    assert!(found.is_empty(), "{found:#?}");
}

/// Whatever is cut off, changed or promised: an answer or an error, and no more memory than allowed.
#[test]
fn hostile_sounds_are_heard_or_refused() {
    let files = safetensors::load(fixture("vision/sounds.safetensors"), &Device::Cpu).unwrap();
    let limits = AudioLimits { max_samples: 100_000, ..AudioLimits::default() };
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    for (key, file) in &files {
        let Some(name) = key.strip_suffix("/file") else { continue };
        let whole = file.to_vec1::<u8>().unwrap();
        for round in 0..60 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes.truncate(next() % whole.len()),
                1 => (0..8).for_each(|_| bytes[next() % whole.len()] = next() as u8),
                // The header alone.
                _ => (0..4).for_each(|_| bytes[next() % 64] = next() as u8),
            }
            match decode(&bytes, &limits) {
                Ok(sound) => {
                    assert!((1..=100_000).contains(&sound.samples.len()), "{name}");
                    assert_eq!(sound.samples.len() % sound.channels, 0, "{name}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
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
