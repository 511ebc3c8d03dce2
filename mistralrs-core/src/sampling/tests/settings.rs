//! Which values are refused, how defaults are filled in, and what `generation_config.json` says.

use super::*;
use crate::error::RequestError;
use serde_json::json;

/// Checks that the field is refused by its name.
fn refuse(param: &str, set: impl FnOnce(&mut SamplingParams)) {
    let params = with(set);
    match params.validate(100) {
        Err(RequestError::Invalid { param: found, message }) => {
            assert_eq!(found, param);
            assert!(message.contains(&format!("`{param}`")), "{message}");
        }
        other => panic!("{other:?} for {params:?}"),
    }
}

#[test]
fn impossible_values_are_refused_by_name() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let dry = |multiplier, base| Some(DryParams { multiplier, base, ..DryParams::default() });
    for bad in [NAN, INF, -INF, -0.1, 100.1] {
        refuse("temperature", |p| p.temperature = Some(bad));
        refuse("top_p", |p| p.top_p = Some(bad));
        refuse("min_p", |p| p.min_p = Some(bad));
        refuse("typical_p", |p| p.typical_p = Some(bad));
        refuse("xtc_probability", |p| p.xtc = xtc(bad, 0.1));
        refuse("xtc_threshold", |p| p.xtc = xtc(0.1, bad));
    }
    for bad in [NAN, INF, -0.1] {
        refuse("top_n_sigma", |p| p.top_n_sigma = Some(bad));
        refuse("dry_multiplier", |p| p.dry = dry(bad, 2.0));
        refuse("dry_base", |p| p.dry = dry(1.0, bad));
    }
    for bad in [NAN, INF, 0.0, -1.0] {
        refuse("repetition_penalty", |p| p.repetition_penalty = Some(bad));
        refuse("mirostat_tau", |p| p.mirostat = mirostat(bad, 0.1));
        refuse("mirostat_eta", |p| p.mirostat = mirostat(5.0, bad));
    }
    for bad in [NAN, -2.1, 2.1] {
        refuse("frequency_penalty", |p| p.frequency_penalty = Some(bad));
        refuse("presence_penalty", |p| p.presence_penalty = Some(bad));
    }
    refuse("typical_p", |p| p.typical_p = Some(0.0));
    refuse("dry_base", |p| p.dry = dry(1.0, 0.9));
    for bad in [(100, 1.0), (u32::MAX, 1.0), (5, 100.5), (5, -101.0), (5, NAN)] {
        refuse("logit_bias", |p| p.logit_bias = vec![(1, 1.0), bad]);
    }
    let sequence_breakers = vec![String::new()];
    refuse("dry_sequence_breakers", |p| {
        p.dry = Some(DryParams { sequence_breakers, ..DryParams::default() });
    });
}

#[test]
fn the_limits_themselves_are_possible() {
    for edge in [0.0, 1.0] {
        let edges = SamplingParams {
            temperature: Some(edge * 100.0),
            top_k: Some(usize::MAX),
            top_p: Some(edge),
            min_p: Some(edge),
            typical_p: Some(1.0),
            top_n_sigma: Some(edge),
            xtc: Some(Xtc { probability: edge, threshold: edge }),
            mirostat: Some(Mirostat { tau: 0.1, eta: 0.1 }),
            repetition_penalty: Some(0.1),
            frequency_penalty: Some(edge * 4.0 - 2.0),
            presence_penalty: Some(edge * 4.0 - 2.0),
            penalty_last_n: Some(0),
            dry: Some(DryParams::default()),
            logit_bias: vec![(99, edge * 200.0 - 100.0)],
            seed: Some(u64::MAX),
        };
        edges.validate(100).unwrap();
    }
    params().validate(0).unwrap();
    let error = with(|p| p.top_p = Some(1.5)).validate(100).unwrap_err();
    assert_eq!(error.to_string(), "`top_p` must be at least 0 and at most 1, but it is 1.5");
}

#[test]
fn open_fields_take_the_defaults() {
    let defaults = SamplingParams {
        temperature: Some(0.7),
        top_k: Some(20),
        top_p: Some(0.8),
        repetition_penalty: Some(1.1),
        dry: Some(DryParams::default()),
        seed: Some(1),
        logit_bias: vec![(1, 1.0)],
        ..params()
    };
    let asked = SamplingParams { temperature: Some(0.0), min_p: Some(0.1), ..params() };
    let merged = asked.or(&defaults);
    let expected = SamplingParams {
        temperature: Some(0.0),
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: Some(0.1),
        repetition_penalty: Some(1.1),
        dry: Some(DryParams::default()),
        ..params()
    };
    assert_eq!(merged, expected);
}

#[test]
fn generation_config_is_read() {
    let qwen = json!({
        "bos_token_id": 151643, "do_sample": true, "repetition_penalty": 1.05,
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": null,
    });
    let expected = SamplingParams {
        temperature: Some(0.7),
        top_p: Some(0.8),
        top_k: Some(20),
        repetition_penalty: Some(1.05),
        ..params()
    };
    assert_eq!(GenerationDefaults::from_json(&qwen), expected);

    let greedy = json!({"do_sample": false, "temperature": 0.7, "min_p": 0.05, "typical_p": 0.9});
    let expected = SamplingParams {
        temperature: Some(0.0),
        min_p: Some(0.05),
        typical_p: Some(0.9),
        ..params()
    };
    assert_eq!(GenerationDefaults::from_json(&greedy), expected);

    let slips = json!({
        "temperature": "hot", "top_p": 7, "top_k": -1, "repetition_penalty": 1e300, "min_p": [],
        "typical_p": 0,
    });
    let expected = SamplingParams { top_k: Some(0), ..params() };
    assert_eq!(GenerationDefaults::from_json(&slips), expected);
    assert_eq!(GenerationDefaults::from_json(&json!([])), params());
}
