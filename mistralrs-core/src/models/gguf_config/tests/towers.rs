//! What a tower's file says, and what is taken where it is silent.

use super::super::with_tower;
use mistralrs_quant::gguf::GgufFile;
use mistralrs_testkit::{fixture, read_json};
use serde_json::{Value, json};
use std::path::Path;

/// The tower of a fixture without some of its keys, beside a text model of this kind.
fn seeing(name: &str, without: &[&str], text: (&str, u64)) -> Result<(Value, Value), String> {
    let file = fixture(&format!("{name}-gguf")).join(format!("mmproj-{name}-f32.gguf"));
    let mut bytes = std::fs::read(file).unwrap();
    for key in without {
        let at = bytes.windows(key.len()).position(|at| at == key.as_bytes()).unwrap();
        bytes[at] = b'-';
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mmproj.gguf");
    std::fs::write(&file, bytes).unwrap();
    let tower = GgufFile::open(std::slice::from_ref(&file)).unwrap();
    let config = json!({"model_type": text.0, "hidden_size": text.1, "kept": true});
    match with_tower(&config, Path::new("text.gguf"), &tower, &file) {
        Ok(seeing) => {
            assert_eq!(seeing.config["kept"], true);
            assert_eq!(seeing.config["architectures"], json!([seeing.architecture]));
            Ok((seeing.config, seeing.processor))
        }
        Err(error) => Err(error.to_string()),
    }
}

const QWEN2: (&str, u64) = ("qwen2vl", 24);

#[test]
fn a_tower_says_what_its_config_says() {
    for (name, text, skipped) in [
        // Where the file has the width of a layer, the config has how many times wider it is.
        ("qwen2-vl", QWEN2, &["hidden_size", "mlp_ratio"][..]),
        ("qwen2.5-vl", QWEN2, &["out_hidden_size"][..]),
        ("qwen3-vl", ("qwen3vl", 24), &["out_hidden_size"][..]),
        (
            "gemma3-vision",
            ("gemma3", 36),
            &["attention_dropout", "num_channels", "vision_use_head"][..],
        ),
    ] {
        let (config, _) = seeing(name, &[], text).unwrap();
        let folder: Value = read_json(&fixture(name).join("config.json"));
        assert_eq!(config["architectures"], folder["architectures"]);
        assert_eq!(config["mm_tokens_per_image"], folder["mm_tokens_per_image"], "{name}");
        let found = &config["vision_config"];
        let idle = ["model_type", "initializer_range", "rope_parameters", "dtype"];
        for (key, value) in folder["vision_config"].as_object().unwrap() {
            if !idle.contains(&key.as_str()) && !skipped.contains(&key.as_str()) {
                assert_eq!(&found[key], value, "{name}: {key}");
            }
        }
    }
    let (config, processor) = seeing("qwen2-vl", &[], QWEN2).unwrap();
    assert_eq!(config["vision_config"]["intermediate_size"], 32, "not what the key says");
    let folder: Value = read_json(&fixture("qwen2-vl").join("preprocessor_config.json"));
    for key in ["min_pixels", "max_pixels", "patch_size", "merge_size"] {
        assert_eq!(processor[key], folder[key], "{key}");
    }
    // Fractions are f32 in the file.
    let fractions = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap() as f32).collect()
    };
    for key in ["image_mean", "image_std"] {
        assert_eq!(fractions(&processor[key]), fractions(&folder[key]), "{key}");
    }
}

#[test]
fn what_a_tower_is_silent_on_is_what_published_models_have() {
    let silent = [
        "clip.vision.window_size",
        "clip.vision.image_min_pixels",
        "clip.vision.image_max_pixels",
        "clip.vision.image_mean",
    ];
    let (config, processor) = seeing("qwen2.5-vl", &silent, QWEN2).unwrap();
    let vision = &config["vision_config"];
    assert_eq!((&vision["window_size"], &vision["tokens_per_second"]), (&json!(112), &json!(2)));
    assert_eq!(
        (&vision["spatial_merge_size"], &vision["temporal_patch_size"]),
        (&json!(2), &json!(2))
    );
    for key in ["min_pixels", "max_pixels", "image_mean"] {
        assert_eq!(processor[key], Value::Null, "the family's");
    }
    // Sixteen patches, pooled four by four.
    let silent = ["clip.vision.projector.scale_factor", "clip.vision.attention.layer_norm_epsilon"];
    let (config, _) = seeing("gemma3-vision", &silent, ("gemma3", 36)).unwrap();
    assert_eq!(config["mm_tokens_per_image"], 1);
    assert_eq!(config["vision_config"]["layer_norm_eps"], Value::Null);
    // The bounds of a picture are not those of a clip.
    let (_, processor) = seeing("qwen3-vl", &[], ("qwen3vl", 24)).unwrap();
    assert_eq!(processor["image_processor"]["max_pixels"], 1024);
    assert_eq!(processor["video_processor"]["max_pixels"], Value::Null);
    assert_eq!(processor["video_processor"]["patch_size"], 4);
}

#[test]
fn what_a_tower_must_say_is_named() {
    for (name, key, text) in [
        ("qwen2-vl", "clip.vision.block_count", QWEN2),
        ("qwen2.5-vl", "clip.vision.n_wa_pattern", QWEN2),
        ("qwen3-vl", "clip.vision.is_deepstack_layers", ("qwen3vlmoe", 24)),
        ("gemma3-vision", "clip.vision.image_size", ("gemma3", 36)),
        ("gemma3-vision", "clip.vision.projection_dim", ("gemma3", 36)),
    ] {
        // A key that has no number there is missed before its layers are counted.
        let error = seeing(name, &[key], text).unwrap_err();
        assert!(error.contains(&format!("`{key}` is missing")), "{error}");
    }
    for (text, told) in [
        (("qwen2vl", 32), "for a qwen2vl of width 24; `text.gguf` is a qwen2vl of width 32"),
        (("llama", 24), "for a qwen2vl of width 24; `text.gguf` is a llama of width 24"),
    ] {
        let error = seeing("qwen2-vl", &[], text).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    let error = seeing("qwen3-vl", &[], QWEN2).unwrap_err();
    assert!(error.contains("`qwen3vl_merger`, for a qwen3vl or qwen3vlmoe of width"), "{error}");
}
