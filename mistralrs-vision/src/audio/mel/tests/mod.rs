//! Numbers of the front end that follow from its definition; transformers' own stand in the goldens.

use super::*;
use serde_json::json;

#[test]
fn a_tone_lights_its_band() {
    let front = LogMel::from_config(&json!({})).unwrap();
    let tone = |hertz: f32| {
        let sample = |i: usize| (std::f32::consts::TAU * hertz * i as f32 / 16_000.).sin();
        (0..16_000).map(sample).collect::<Vec<_>>()
    };
    let mut bands = Vec::new();
    for hertz in [300f32, 1000., 4000.] {
        let frames = front.samples(&tone(hertz)).unwrap();
        assert_eq!(frames.features.dims(), [97, 128]);
        assert_eq!(frames.num_tokens, 188);
        let row = frames.features.get(50).unwrap().to_vec1::<f32>().unwrap();
        let loudest = (0..128).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        // HTK's mel scale: where the tone lies between both ends.
        let mel = |hertz: f32| (1. + hertz / 700.).ln();
        let place = (mel(hertz) - mel(125.)) / (mel(7600.) - mel(125.)) * 129. - 1.;
        assert!(
            (loudest as f32 - place).abs() < 2.,
            "{hertz} Hz is in band {loudest}, not {place}"
        );
        bands.push(loudest);
    }
    assert!(bands.is_sorted());
}

#[test]
fn the_zeros_behind_a_sound_are_masked() {
    let front = LogMel::from_config(&json!({"feature_extractor": {"feature_size": 8}})).unwrap();
    let frames = front.samples(&[0.1; 1000]).unwrap();
    // 1024 samples after filling; frames of 513 every 160.
    assert_eq!((frames.mask.len(), frames.features.dims()), (4, [4, 8].as_slice()));
    assert!(frames.mask.iter().all(|inside| *inside));
    let silent = front.samples(&[0.; 600]).unwrap();
    let floor = silent.features.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(floor.iter().all(|v| (v - 1e-5f32.ln()).abs() < 1e-4));
}

#[test]
fn what_cannot_be_is_refused() {
    let front = LogMel::from_config(&json!({})).unwrap();
    assert!(front.samples(&[0.; 100]).unwrap_err().to_string().contains("513"));
    for config in [
        json!({"feature_size": 0}),
        json!({"sampling_rate": 0}),
        json!({"frame_length_ms": 1e9}),
        json!({"per_bin_mean": [1.0]}),
        json!({"mel_floor": "x"}),
    ] {
        assert!(LogMel::from_config(&config).is_err(), "{config}");
    }
}
