//! Both generations, defaults, and what is refused; frequencies against their definitions.

use super::*;
use serde_json::json;

fn base() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 5, "num_attention_heads": 8, "vocab_size": 512,
    })
}

fn parse(extra: Value) -> Result<TextConfig, String> {
    let mut json = base();
    json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    TextConfig::parse(Path::new("config.json"), &json).map_err(|error| error.to_string())
}

fn scaling(extra: Value) -> Result<RopeScaling, String> {
    parse(extra).map(|config| config.rope.scaling)
}

#[test]
fn silent_keys_get_their_defaults() {
    let config = parse(json!({})).unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (8, 8));
    assert_eq!(
        config.rope,
        RopeConfig { theta: 10_000.0, scaling: RopeScaling::None, partial: 1.0 }
    );
    assert_eq!((config.rms_norm_eps, config.hidden_act.as_str()), (1e-6, "silu"));
    assert_eq!((config.max_position_embeddings, config.tie_word_embeddings), (2048, false));
    assert_eq!((config.bos_token_id, config.eos_token_ids, config.dtype), (None, vec![], None));
    let nulls = parse(json!({
        "head_dim": null, "num_key_value_heads": null, "rope_scaling": null,
        "eos_token_id": null, "bos_token_id": null, "sliding_window": null,
        "quantization_config": null, "tie_word_embeddings": null,
    }));
    assert_eq!(nulls.unwrap(), parse(json!({})).unwrap());
}

#[test]
fn the_two_generations_mean_the_same() {
    let older = parse(json!({
        "torch_dtype": "bfloat16", "rope_theta": 500000.0, "head_dim": 16, "num_key_value_heads": 2,
        "rope_scaling": {"type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        "eos_token_id": [1, 2], "bos_token_id": 0, "tie_word_embeddings": true,
    }));
    let newer = parse(json!({
        "dtype": "bfloat16", "head_dim": 16, "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        "eos_token_id": [1, 2], "bos_token_id": 0, "tie_word_embeddings": true,
    }));
    assert_eq!(older, newer);
    let config = newer.unwrap();
    assert_eq!((config.head_dim, config.rope.theta), (16, 500_000.0));
    assert_eq!(config.dtype.as_deref(), Some("bfloat16"));
    assert_eq!(config.eos_token_ids, [1, 2]);
    assert_eq!(
        config.rope.scaling,
        RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192
        }
    );
    assert_eq!(
        scaling(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})),
        Ok(RopeScaling::None)
    );
    for key in ["type", "rope_type"] {
        assert_eq!(
            scaling(json!({"rope_scaling": {key: "linear", "factor": 2.5}})),
            Ok(RopeScaling::Linear { factor: 2.5 })
        );
    }
}

#[test]
fn what_cannot_be_is_named() {
    let table = [
        (json!({"rope_scaling": {"rope_type": "dynamic", "factor": 0.0}}), "`factor`"),
        (json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "original_max_position"),
        (json!({"rope_scaling": {"type": "mrope"}}), "`mrope`"),
        (json!({"rope_scaling": {"type": "linear"}}), "`factor` is missing"),
        (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "must be positive"),
        (
            json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}),
            "original_max_position_embeddings",
        ),
        (
            json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8}}),
            "less than",
        ),
        (json!({"rope_parameters": {"full_attention": {"rope_type": "odd"}}}), "`odd`"),
        (json!({"rope_parameters": {"sliding_attention": {"rope_type": "odd"}}}), "`odd`"),
        (
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1],
                "long_factor": [1, 1], "original_max_position_embeddings": 8}}),
            "`long_factor` has 2 factors for 4",
        ),
        (json!({"layer_types": ["full_attention", "chunked_attention"]}), "`chunked_attention`"),
        (json!({"rope_scaling": {"type": "factors", "factors": [1.0]}}), "has 1 factors for 4"),
        (json!({"rope_theta": -1.0}), "rope_theta"),
        (json!({"partial_rotary_factor": 1.5}), "partial_rotary_factor"),
        (json!({"partial_rotary_factor": 0.1}), "rotates 0 dimensions"),
        (json!({"hidden_size": 0}), "`hidden_size` is 0"),
        (json!({"hidden_size": 1u64 << 40}), "`hidden_size`"),
        (json!({"hidden_size": -1}), "hidden_size: invalid value: integer `-1`"),
        (json!({"num_hidden_layers": 1e9}), "num_hidden_layers: "),
        (json!({"num_hidden_layers": 0}), "`num_hidden_layers` is 0"),
        (json!({"num_hidden_layers": 1_000_000_000}), "outside 1..=4096"),
        (json!({"head_dim": 1 << 20}), "`head_dim`"),
        (json!({"num_attention_heads": 0}), "num_attention_heads"),
        (json!({"num_attention_heads": 7}), "must be a multiple"),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
        (json!({"num_key_value_heads": 0}), "num_key_value_heads"),
        (json!({"vocab_size": "many"}), "many"),
        (json!({"eos_token_id": "</s>"}), "token id"),
        (json!({"rms_norm_eps": -1.0}), "rms_norm_eps"),
        (json!({"quantization_config": {"quant_method": "gptq"}}), "`gptq`"),
    ];
    for (extra, word) in table {
        let error = parse(extra.clone()).unwrap_err();
        assert!(error.starts_with("config.json: ") && error.contains(word), "{extra}: {error}");
    }
    let mut json = base();
    json.as_object_mut().unwrap().remove("vocab_size");
    let error = TextConfig::parse(Path::new("config.json"), &json).unwrap_err().to_string();
    assert!(error.contains("vocab_size"), "{error}");
    assert!(TextConfig::parse(Path::new("config.json"), &json!([1])).is_err());
}

/// The rule as transformers states it, in its own terms: wavelengths, three cases.
fn llama3_by_wavelength(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[test]
fn frequencies_of_every_scaling() {
    let rope =
        |scaling| RopeConfig { theta: 500_000.0, scaling, partial: 1.0 }.inverse_frequencies(64);
    let plain: Vec<f64> = (0..32).map(|pair| 1.0 / 500_000f64.powf(pair as f64 / 32.0)).collect();
    let close = |found: Vec<f32>, wanted: Vec<f64>| {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((f64::from(found) / wanted - 1.0).abs() < 1e-6, "{found} {wanted}");
        }
    };
    close(rope(RopeScaling::None), plain.clone());
    close(rope(RopeScaling::Linear { factor: 4.0 }), plain.iter().map(|f| f / 4.0).collect());
    let llama3 = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    let wanted: Vec<f64> =
        plain.iter().map(|f| llama3_by_wavelength(*f, 32.0, 1.0, 4.0, 8192.0)).collect();
    // All three cases are met.
    assert_eq!(wanted[0], plain[0]);
    assert_eq!(wanted[31], plain[31] / 32.0);
    assert!(wanted.iter().zip(&plain).any(|(w, p)| w < p && *w > p / 31.0));
    close(rope(llama3), wanted.clone());
    // The factors a GGUF file would hold give the same.
    let factors = plain.iter().zip(&wanted).map(|(plain, scaled)| plain / scaled).collect();
    close(rope(RopeScaling::Factors(factors)), wanted);
}

/// YaRN as the paper writes it: a ramp over the dimensions between the two that make `beta` turns.
#[test]
fn yarn_frequencies() {
    let config = parse(json!({
        "head_dim": 64, "rope_theta": 1e6,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    }))
    .unwrap();
    let found = config.rope.inverse_frequencies(64);
    let turning = |turns: f64| {
        (64.0 * (32768.0 / (turns * std::f64::consts::TAU)).ln()) / (2.0 * 1e6f64.ln())
    };
    let (low, high) = (turning(32.0).floor(), turning(1.0).ceil());
    assert!(low > 2.0 && high < 28.0);
    for (pair, found) in found.into_iter().enumerate() {
        let plain = 1e6f64.powf(-(pair as f64) / 32.0);
        let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
        let wanted = plain / 4.0 * ramp + plain * (1.0 - ramp);
        assert!((f64::from(found) / wanted - 1.0).abs() < 1e-6, "{pair}: {found} {wanted}");
    }
    assert!((config.rope.attention_factor() - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
}

#[test]
fn long_rope_has_two_sets_and_a_part_of_the_head() {
    let config = parse(json!({
        "head_dim": 8, "partial_rotary_factor": 0.75, "max_position_embeddings": 64,
        "original_max_position_embeddings": 16,
        "rope_scaling": {"type": "su", "short_factor": [1.0, 2.0, 4.0], "long_factor": [3.0, 5.0, 7.0]},
    }))
    .unwrap();
    assert_eq!(config.rope.rotary_dim(config.head_dim), 6);
    let plain = |pair: i32| 10_000f64.powf(-f64::from(pair) / 3.0) as f32;
    let near = |found: Vec<f32>, divisors: [f32; 3]| {
        for ((found, divisor), pair) in found.into_iter().zip(divisors).zip(0..) {
            assert!((found * divisor / plain(pair) - 1.0).abs() < 1e-6);
        }
    };
    near(config.rope.inverse_frequencies(6), [1.0, 2.0, 4.0]);
    near(config.rope.long_inverse_frequencies(6).unwrap(), [3.0, 5.0, 7.0]);
    assert_eq!(config.rope.short_context(), Some(16));
    assert!((config.rope.attention_factor() - 1.5f64.sqrt()).abs() < 1e-12);
}

#[test]
fn each_kind_of_layer_may_have_its_own_rope() {
    let nested = parse(json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }}))
    .unwrap();
    let older = parse(json!({
        "rope_theta": 1e6, "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }))
    .unwrap();
    assert_eq!(nested, older);
    assert_eq!(nested.rope.scaling, RopeScaling::Linear { factor: 8.0 });
    let local = nested.local_rope.unwrap();
    assert_eq!((local.theta, local.scaling), (1e4, RopeScaling::None));
    assert_eq!(parse(json!({})).unwrap().local_rope, None);
}

#[test]
fn a_nested_text_config_is_read() {
    let mut text = base();
    text["eos_token_id"] = json!(1);
    text["architectures"] = json!(["Inner"]);
    let whole = json!({"architectures": ["Outer"], "eos_token_id": [1, 106], "text_config": text});
    let config = TextConfig::parse(Path::new("config.json"), &whole).unwrap();
    assert_eq!((config.hidden_size, config.eos_token_ids), (64, vec![1, 106]));
    assert_eq!(config.architectures, ["Outer"]);
    let defaults = json!({"hidden_size": 1, "rms_norm_eps": 0.5, "sliding_window": 9});
    let config = TextConfig::parse_with(Path::new("config.json"), &whole, defaults).unwrap();
    assert_eq!((config.hidden_size, config.rms_norm_eps), (64, 0.5));
    assert_eq!(config.sliding_window, Some(9));
    let said = json!({"sliding_window": null, "text_config": base()});
    let config =
        TextConfig::parse_with(Path::new("x"), &said, json!({"sliding_window": 9})).unwrap();
    assert_eq!(config.sliding_window, None);
}

#[test]
fn keys_that_change_the_arithmetic_are_read_or_refused() {
    let check = |json: Value, reads: &[&str]| check_keys(Path::new("config.json"), &json, reads);
    let caps = json!({"final_logit_softcapping": 30.0});
    assert!(check(caps.clone(), &["final_logit_softcapping"]).is_ok());
    let error = check(caps, &[]).unwrap_err().to_string();
    assert!(error.contains("`final_logit_softcapping` is 30.0"), "{error}");
    for harmless in [
        json!({"residual_multiplier": 1.0, "final_logit_softcapping": null, "use_mrope": false}),
        json!({"initializer_range": 0.5, "a_key_of_the_future": true, "attention_dropout": 0.1}),
    ] {
        assert!(check(harmless, &[]).is_ok());
    }
    for nested in [
        json!({"text_config": {"logits_scaling": 8}}),
        json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
        json!({"rope_scaling": {"long_mscale": 1.2}}),
    ] {
        assert!(check(nested.clone(), &[]).is_err(), "{nested}");
    }
}
