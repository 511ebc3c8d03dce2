//! DRY, the three penalties and breakers: by hand, and against the definition written out.

use super::*;
use crate::sampling::processors::{Dry, LONGEST_MATCH, LogitsProcessor, Penalties, match_length};
use proptest::prelude::*;

fn dry(allowed_length: usize, last_n: Option<usize>) -> DryParams {
    DryParams { multiplier: 1.0, base: 1.75, allowed_length, last_n, sequence_breakers: Vec::new() }
}

fn after_dry(params: &DryParams, breakers: &[u32], history: &[u32]) -> Vec<f32> {
    let mut logits = vec![0.0; 6];
    Dry::new(params, breakers.iter().copied().collect()).process(&mut logits, history);
    logits
}

#[test]
fn dry_follows_the_paragraph() {
    let untouched = [0.0; 6];
    let history = [1, 2, 3, 1, 2];
    assert_eq!(after_dry(&dry(2, None), &[], &history), [0.0, 0.0, 0.0, -1.0, 0.0, 0.0]);
    assert_eq!(after_dry(&dry(1, None), &[], &history), [0.0, 0.0, 0.0, -1.75, 0.0, 0.0]);
    assert_eq!(after_dry(&dry(3, None), &[], &history), untouched);
    assert_eq!(after_dry(&dry(2, None), &[1], &history), untouched);
    assert_eq!(after_dry(&dry(2, None), &[3], &history), untouched);
    // The last token is a breaker: the published rule.
    assert_eq!(after_dry(&dry(0, None), &[2], &history), untouched);
    // A window of four no longer sees the first 1.
    assert_eq!(after_dry(&dry(2, Some(4)), &[], &history), untouched);
    assert_eq!(after_dry(&dry(2, Some(5)), &[], &history), after_dry(&dry(2, None), &[], &history));
    assert_eq!(after_dry(&dry(0, Some(0)), &[], &history), untouched);
    for short in [&[][..], &[1]] {
        assert_eq!(after_dry(&dry(0, None), &[], short), untouched);
    }
    // Tokens beyond the logits are skipped.
    assert_eq!(after_dry(&dry(1, None), &[], &[9, 77, 9]), untouched);
}

#[test]
fn dry_work_is_bounded_on_a_prompt_of_one_token() {
    let history = vec![3; 100_000];
    let compared: usize =
        (0..history.len() - 1).map(|index| match_length(&history, index, LONGEST_MATCH) + 1).sum();
    assert!(compared <= (LONGEST_MATCH + 1) * history.len(), "{compared}");
    let expected = -1.75f32.powi(LONGEST_MATCH as i32 - 2);
    assert_eq!(after_dry(&dry(2, None), &[], &history)[3], expected);
}

/// P-B1, letter by letter.
fn slow_dry(params: &DryParams, breakers: &[u32], history: &[u32], vocabulary: usize) -> Vec<f32> {
    let skip = params.last_n.map_or(0, |n| history.len().saturating_sub(n));
    let c = &history[skip..];
    let n = c.len();
    let mut best = vec![0; vocabulary];
    for i in 0..n.saturating_sub(1) {
        if c[i] != c[n - 1] || breakers.contains(&c[n - 1]) || breakers.contains(&c[i + 1]) {
            continue;
        }
        let mut length = 1;
        while length < 50
            && i >= length
            && c[i - length] == c[n - 1 - length]
            && !breakers.contains(&c[i - length])
        {
            length += 1;
        }
        if let Some(best) = best.get_mut(c[i + 1] as usize) {
            *best = length.max(*best);
        }
    }
    let penalty = |length: usize| match length {
        0 => 0.0,
        l if l < params.allowed_length => 0.0,
        l => -params.multiplier * params.base.powi((l - params.allowed_length) as i32),
    };
    best.into_iter().map(penalty).collect()
}

proptest! {
    #[test]
    fn dry_equals_the_definition(
        history in prop::collection::vec(0u32..4, 0..120),
        breakers in prop::collection::vec(0u32..4, 0..2),
        allowed in 0usize..4,
        last_n in prop::option::of(0usize..100),
    ) {
        let params = dry(allowed, last_n);
        let mut logits = vec![0.0; 3];
        Dry::new(&params, breakers.iter().copied().collect()).process(&mut logits, &history);
        prop_assert_eq!(logits, slow_dry(&params, &breakers, &history, 3));
    }

    #[test]
    fn penalties_equal_the_definition_and_remember_nothing(
        earlier in prop::collection::vec(0u32..9, 0..60),
        history in prop::collection::vec(0u32..9, 0..60),
        logits in prop::collection::vec(-5.0f32..5.0, 7),
        frequency in -2.0f32..2.0,
        presence in -2.0f32..2.0,
        repetition in 0.5f32..2.0,
        last_n in prop::option::of(0usize..70),
    ) {
        let mut stage =
            Penalties { frequency, presence, repetition, last_n, counts: Vec::new() };
        stage.process(&mut logits.clone(), &earlier);
        let mut found = logits.clone();
        stage.process(&mut found, &history);

        let window = &history[history.len() - last_n.unwrap_or(usize::MAX).min(history.len())..];
        for (id, (&found, &logit)) in found.iter().zip(&logits).enumerate() {
            let count = window.iter().filter(|&&t| t as usize == id).count();
            let mut wanted = logit;
            if count > 0 {
                wanted = wanted - count as f32 * frequency - presence;
                wanted = if wanted > 0.0 { wanted / repetition } else { wanted * repetition };
            }
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_sampler_depends_on_the_history_and_not_on_how_it_came(
        earlier in prop::collection::vec(0u32..5, 0..40),
        history in prop::collection::vec(0u32..5, 0..40),
    ) {
        let params = SamplingParams {
            temperature: Some(0.0),
            frequency_penalty: Some(0.3),
            repetition_penalty: Some(1.2),
            dry: Some(dry(1, None)),
            ..params()
        };
        let logits = [1.0, 0.9, 0.8, 0.7, 0.6];
        let mut used = Sampler::new(&params, HashSet::from([4]), 1);
        used.sample(&mut logits.clone(), &earlier, &[]);
        let mut fresh = Sampler::new(&params, HashSet::from([4]), 1);
        prop_assert_eq!(
            used.sample(&mut logits.clone(), &history, &[]),
            fresh.sample(&mut logits.clone(), &history, &[])
        );
    }
}

#[test]
fn penalties_by_hand() {
    let mut stage = Penalties {
        frequency: 0.5,
        presence: 0.25,
        repetition: 2.0,
        last_n: None,
        counts: Vec::new(),
    };
    let mut logits = [2.0, -1.0, 0.5, 0.0, 1.0, 3.0];
    stage.process(&mut logits, &[0, 1, 99, 0]);
    assert_eq!(logits, [0.375, -3.5, 0.5, 0.0, 1.0, 3.0]);

    stage.last_n = Some(2); // 99 and 0
    let mut logits = [2.0, -1.0, 0.5, 0.0, 1.0, 3.0];
    stage.process(&mut logits, &[0, 1, 99, 0]);
    assert_eq!(logits, [0.625, -1.0, 0.5, 0.0, 1.0, 3.0]);
}

#[test]
fn a_breaker_is_the_last_token_behind_a_letter() {
    let breakers = ["\n", ":", "none"].map(String::from);
    let encode = |text: &str| {
        Ok::<_, ()>(match text {
            "a\n" => vec![64, 198],
            "a:" => vec![64, 25],
            _ => Vec::new(),
        })
    };
    assert_eq!(breaker_ids(&breakers, encode), Ok(HashSet::from([198, 25])));
    assert_eq!(breaker_ids(&breakers, |_| Err("broken")), Err("broken"));
    assert_eq!(DryParams::default().sequence_breakers, ["\n", ":", "\"", "*"]);
}
