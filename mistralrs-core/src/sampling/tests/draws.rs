//! What the draws promise: the distribution, seeds, bans, and no harm from odd logits.

use super::*;

/// Pearson's statistic of 50,000 draws against the expected probabilities.
fn chi_squared(params: &SamplingParams, logits: &[f32], expected: &[f64]) -> f64 {
    let mut sampler = Sampler::new(params, HashSet::new(), 20_240);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..50_000 {
        counts[sampler.sample(&mut logits.to_vec(), &[], &[]) as usize] += 1.0;
    }
    let pairs = counts.iter().zip(expected.iter().map(|p| p * 50_000.0));
    pairs
        .map(|(&count, wanted)| match wanted {
            0.0 => count * 1e9,
            _ => (count - wanted) * (count - wanted) / wanted,
        })
        .sum()
}

#[test]
fn draws_follow_the_distribution() {
    let p = [0.4f32, 0.3, 0.15, 0.1, 0.05];
    let logits = p.map(f32::ln);
    // 99.99 % of honest samplers stay below 23.5 (four degrees of freedom), 21.1 (three).
    let plain = chi_squared(&params(), &logits, &[0.4, 0.3, 0.15, 0.1, 0.05]);
    assert!(plain < 23.5, "{plain}");

    let cut = with(|p| p.top_k = Some(4));
    let cut = chi_squared(&cut, &logits, &[8.0 / 19.0, 6.0 / 19.0, 3.0 / 19.0, 2.0 / 19.0, 0.0]);
    assert!(cut < 21.1, "{cut}");

    // sqrt p, normalized
    let roots = [0.4f64, 0.3, 0.15, 0.1, 0.05].map(f64::sqrt);
    let sum: f64 = roots.iter().sum();
    let hot = with(|p| p.temperature = Some(2.0));
    let hot = chi_squared(&hot, &logits, &roots.map(|r| r / sum));
    assert!(hot < 23.5, "{hot}");

    // Three times in ten, tokens 0 and 1 are excluded and the rest, 0.3 in all, is drawn from.
    let xtc = with(|p| p.xtc = Some(Xtc { probability: 0.3, threshold: 0.12 }));
    let mixed = [0.28, 0.21, 0.0, 0.0, 0.0]
        .iter()
        .zip([0.0, 0.0, 0.15, 0.1, 0.05])
        .map(|(top, rest)| top + rest * 0.7 + rest * 0.3 / 0.3)
        .collect::<Vec<f64>>();
    let xtc = chi_squared(&xtc, &logits, &mixed);
    assert!(xtc < 23.5, "{xtc}");
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let draw = |seed| {
        let mut sampler = Sampler::new(&params(), HashSet::new(), seed);
        (0..200).map(|_| sampler.sample(&mut six(), &[], &[])).collect::<Vec<u32>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    // Who else draws in between does not matter.
    let mut mine = Sampler::new(&params(), HashSet::new(), 7);
    let mut other = Sampler::new(&params(), HashSet::new(), 8);
    let mixed: Vec<u32> = (0..200)
        .map(|_| {
            other.sample(&mut [1.0; 40], &[], &[]);
            mine.sample(&mut six(), &[], &[])
        })
        .collect();
    assert_eq!(mixed, draw(7));
}

#[test]
fn nan_and_infinities_are_survived() {
    let all = [
        params(),
        with(|p| p.temperature = Some(0.0)),
        with(|p| p.temperature = Some(1e-6)),
        with(|p| p.top_k = Some(2)),
        with(|p| p.top_p = Some(0.9)),
        with(|p| p.min_p = Some(0.1)),
        with(|p| p.typical_p = Some(0.9)),
        with(|p| p.top_n_sigma = Some(1.0)),
        with(|p| p.xtc = Some(Xtc { probability: 1.0, threshold: 0.1 })),
        with(|p| p.mirostat = Some(Mirostat { tau: 5.0, eta: 0.1 })),
        with(|p| p.repetition_penalty = Some(1.5)),
    ];
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for params in all {
        let mut sampler = Sampler::new(&params, HashSet::new(), 1);
        let mut sample = |logits: &[f32], suppressed: &[u32]| {
            sampler.sample(&mut logits.to_vec(), &[0, 1, 2, 9], suppressed)
        };
        for _ in 0..20 {
            assert_eq!(sample(&[nan, -3.0, nan, -inf], &[]), 1, "{params:?}");
            assert_eq!(sample(&[nan, 3.0, inf, -inf], &[]), 2, "{params:?}");
            assert_eq!(sample(&[f32::MAX, f32::MIN, 0.0], &[]), 0, "{params:?}");
        }
        assert_eq!(sample(&[nan; 4], &[]), 0);
        assert_eq!(sample(&[nan; 4], &[0, 1]), 2);
        assert_eq!(sample(&[-inf; 4], &[]), 0);
        assert_eq!(sample(&[1.0; 3], &[0, 1, 2, 77]), 0);
        assert_eq!(sample(&[], &[]), 0);
    }
}

#[test]
fn suppressed_tokens_are_not_drawn_even_with_a_bias() {
    let biased = SamplingParams { logit_bias: vec![(0, 100.0)], ..params() };
    let mut sampler = Sampler::new(&biased, HashSet::new(), 1);
    assert_eq!(sampler.sample(&mut six(), &[], &[]), 0);
    for _ in 0..500 {
        let token = sampler.sample(&mut six(), &[], &[0, 4]);
        assert!(token != 0 && token != 4);
    }
}

#[test]
fn a_bias_shifts_and_minus_100_bans() {
    // ln 2 on token 5 doubles 0.04 against the rest: 0.08 of 1.04
    let shifted = SamplingParams { logit_bias: vec![(5, std::f32::consts::LN_2)], ..params() };
    let wanted = [0.4, 0.25, 0.15, 0.1, 0.06, 0.08].map(|p| p / 1.04);
    let found = chi_squared(&shifted, &six(), &wanted);
    assert!(found < 25.7, "{found}"); // five degrees of freedom
    for temperature in [0.0, 1.0] {
        let banned = SamplingParams {
            logit_bias: vec![(0, -100.0), (1, -100.0)],
            temperature: Some(temperature),
            ..params()
        };
        let mut sampler = Sampler::new(&banned, HashSet::new(), 1);
        for _ in 0..200 {
            // Far beyond what subtracting 100 could hide.
            assert!(sampler.sample(&mut [900.0, 800.0, 1.0, 1.0], &[], &[]) >= 2);
        }
    }
}
