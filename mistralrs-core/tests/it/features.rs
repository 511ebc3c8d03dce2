//! What models make of pictures, by itself: the features that the text model reads, against
//! transformers, from the reference's own pixel values.

use crate::answers::instruction_set;
use candle_core::{Device, Tensor};
use mistralrs_core::attention::CpuAttention;
use mistralrs_core::models::audio::gemma3n::{Gemma3nAudio, Gemma3nAudioConfig};
use mistralrs_core::models::vision::gemma3::{Gemma3Vision, Gemma3VisionConfig};
use mistralrs_core::models::vision::gemma3n::{Gemma3nVision, Gemma3nVisionConfig};
use mistralrs_core::models::vision::idefics3::{Idefics3Vision, Idefics3VisionConfig};
use mistralrs_core::weights::Weights;
use mistralrs_quant::{WeightOptions, open_safetensors};
use mistralrs_testkit::media::{GoldenImage, GoldenTensor, media_golden};
use mistralrs_testkit::{fixture, read_json};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// What f32 arithmetic in another order may differ by, of numbers around 3.
const TOLERANCE: f32 = 2e-4;

fn weights(folder: &Path) -> Weights {
    instruction_set();
    let checkpoint = open_safetensors(&[folder.join("model.safetensors")]).unwrap();
    Weights::new(checkpoint, WeightOptions::default(), Arc::new(CpuAttention), |_, _| ())
}

fn tensor(golden: &GoldenTensor) -> Tensor {
    Tensor::from_vec(golden.data.clone(), golden.shape.as_slice(), &Device::Cpu).unwrap()
}

fn check(image: &GoldenImage, features: &Tensor) {
    check_numbers(&image.file, &image.features, features);
}

fn check_numbers(name: &str, golden: &GoldenTensor, features: &Tensor) {
    assert_eq!(features.dims(), golden.shape, "{name}");
    let numbers = features.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pairs = numbers.iter().zip(&golden.data);
    let worst = pairs.map(|(ours, theirs)| (ours - theirs).abs()).fold(0., f32::max);
    assert!(worst < TOLERANCE, "{name}: {worst}");
}

/// Each picture by itself, then two in one batch.
fn check_all(name: &str, features: impl Fn(&Tensor) -> Tensor) {
    let golden = media_golden(name);
    assert!(golden.images.len() >= 3);
    for image in &golden.images {
        check(image, &features(&tensor(&image.pixels)));
    }
    let pair = [0, 1].map(|number| tensor(&golden.images[number].pixels));
    let both = features(&Tensor::cat(&pair, 0).unwrap());
    let first = pair[0].dim(0).unwrap();
    check(&golden.images[0], &both.narrow(0, 0, first).unwrap());
    check(&golden.images[1], &both.narrow(0, first, pair[1].dim(0).unwrap()).unwrap());
}

#[test]
fn gemma3_sees_what_transformers_sees() {
    let folder = fixture("gemma3-vision");
    let file = folder.join("config.json");
    let config = Gemma3VisionConfig::parse(&file, &read_json(&file), 36).unwrap();
    assert_eq!(config.tokens_per_image(), 4);
    let vision = Gemma3Vision::load(&config, &weights(&folder)).unwrap();
    check_all("gemma3-vision", |pixels| vision.forward(pixels).unwrap());
}

#[test]
fn idefics3_and_smolvlm_see_what_transformers_sees() {
    for (name, hidden) in [("idefics3", 24), ("smolvlm", 32)] {
        let folder = fixture(name);
        let file = folder.join("config.json");
        let config = Idefics3VisionConfig::parse(&file, &read_json(&file), hidden).unwrap();
        assert_eq!(config.tokens_per_image(), 4);
        let vision = Idefics3Vision::load(&config, &weights(&folder)).unwrap();
        check_all(name, |pixels| vision.forward(pixels).unwrap());
    }
}

#[test]
fn configs_that_cannot_see_are_refused() {
    let file = Path::new("config.json");
    let config = |name: &str, pointer: &str, value: Value| {
        let mut json: Value = read_json(&fixture(name).join("config.json"));
        *json.pointer_mut(pointer).unwrap() = value;
        json
    };
    let gemma = |pointer: &str, value: Value| {
        let json = config("gemma3-vision", pointer, value);
        Gemma3VisionConfig::parse(file, &json, 36).unwrap_err().to_string()
    };
    assert!(gemma("/mm_tokens_per_image", 36.into()).contains("`mm_tokens_per_image` is 36"));
    assert!(gemma("/mm_tokens_per_image", 0.into()).contains("`mm_tokens_per_image` is 0"));
    assert!(gemma("/vision_config/patch_size", 21.into()).contains("patch_size"));
    assert!(gemma("/vision_config/patch_size", 0.into()).contains("`patch_size` is 0"));
    assert!(gemma("/vision_config/num_attention_heads", 3.into()).contains("3 heads"));
    assert!(gemma("/vision_config/hidden_act", "mish".into()).contains("mish"));
    let idefics = config("smolvlm", "/scale_factor", 3.into());
    let error = Idefics3VisionConfig::parse(file, &idefics, 32).unwrap_err().to_string();
    assert!(error.contains("`scale_factor` is 3"), "{error}");
}

#[test]
fn pictures_of_other_sizes_are_errors_and_smaller_ones_find_their_positions() {
    let zeros = |shape: [usize; 4]| Tensor::zeros(&shape, candle_core::DType::F32, &Device::Cpu);
    let folder = fixture("idefics3");
    let file = folder.join("config.json");
    let config = Idefics3VisionConfig::parse(&file, &read_json(&file), 24).unwrap();
    let vision = Idefics3Vision::load(&config, &weights(&folder)).unwrap();
    let forward = |shape| vision.forward(&zeros(shape).unwrap());
    assert_eq!(forward([1, 3, 12, 24]).unwrap().dims(), [1, 2, 24]);
    for wrong in [[1, 3, 36, 24], [1, 3, 20, 24], [1, 1, 24, 24], [1, 3, 2, 24]] {
        assert!(forward(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn gemma3n_sees_and_hears_what_transformers_does() {
    let folder = fixture("gemma3n-media");
    let (file, golden) = (folder.join("config.json"), media_golden("gemma3n-media"));
    let json = read_json(&file);
    let (config, weights) =
        (Gemma3nVisionConfig::parse(&file, &json, 20).unwrap(), weights(&folder));
    assert_eq!(config.tokens_per_image(), 4);
    let vision = Gemma3nVision::load(&config, &weights).unwrap();
    for image in &golden.images {
        let features = vision.forward(&tensor(&image.pixels)).unwrap();
        check(image, &features.unsqueeze(0).unwrap());
    }
    let config = Gemma3nAudioConfig::parse(&file, &json, (20, 309)).unwrap();
    let audio = Gemma3nAudio::load(&config, &weights).unwrap();
    assert_eq!((golden.sounds.len(), config.tokens_per_sound()), (5, 6));
    for (number, sound) in golden.sounds.iter().enumerate() {
        let features = audio.forward(&tensor(&sound.mel), sound.valid).unwrap();
        assert_eq!(features.dims(), [6, 20]);
        let own = sound.features.shape[0];
        check_numbers(&format!("{number}"), &sound.features, &features.narrow(0, 0, own).unwrap());
        // The rest is all the same token.
        let rest = features.narrow(0, own, 6 - own).unwrap().to_vec2::<f32>().unwrap();
        assert!(rest.windows(2).all(|pair| pair[0] == pair[1]));
    }
    assert!(audio.forward(&tensor(&golden.sounds[0].mel), 0).is_err());
}
