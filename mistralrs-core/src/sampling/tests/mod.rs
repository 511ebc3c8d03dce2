//! The sampler's stages and log-probabilities against numbers worked out by hand.

mod draws;
mod forms;
mod penalties;
mod settings;
mod slow;

use super::*;

/// Probabilities 0.4, 0.25, 0.15, 0.1, 0.06, 0.04 as logits that are not normalized.
fn six() -> Vec<f32> {
    [0.4f32, 0.25, 0.15, 0.1, 0.06, 0.04].map(|p| p.ln() + 3.0).to_vec()
}

/// The tokens that may be drawn, after all stages.
fn support(params: &SamplingParams, logits: Vec<f32>) -> Vec<u32> {
    support_in(&mut params.chain(HashSet::new()), logits)
}

fn support_in(chain: &mut Chain, mut logits: Vec<f32>) -> Vec<u32> {
    for stage in &mut chain.processors {
        stage.process(&mut logits, &[]);
    }
    let (mut pool, mut rng) = (Pool::default(), ChaCha8Rng::seed_from_u64(1));
    let mut candidates = Candidates::new(&mut logits, &mut pool, &mut rng);
    for filter in &mut chain.filters {
        filter.apply(&mut candidates);
    }
    candidates.all().iter().map(|c| c.id).collect()
}

fn params() -> SamplingParams {
    SamplingParams::default()
}

fn with(set: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
    let mut params = params();
    set(&mut params);
    params
}

fn xtc(probability: f32, threshold: f32) -> Option<Xtc> {
    Some(Xtc { probability, threshold })
}

fn mirostat(tau: f32, eta: f32) -> Option<Mirostat> {
    Some(Mirostat { tau, eta })
}

#[test]
fn each_filter_keeps_what_the_hand_computes() {
    const ALL: &[u32] = &[0, 1, 2, 3, 4, 5];
    let expect = |set: &dyn Fn(&mut SamplingParams), expected: &[u32]| {
        let params = with(set);
        assert_eq!(support(&params, six()), expected, "{params:?}");
    };
    expect(&|_| (), ALL);
    expect(&|p| p.top_k = Some(3), &[0, 1, 2]);
    expect(&|p| p.top_k = Some(0), ALL);
    expect(&|p| p.top_k = Some(7), ALL);
    // 0.4 + 0.25 + 0.15: the token that crosses 0.7 stays
    expect(&|p| p.top_p = Some(0.7), &[0, 1, 2]);
    expect(&|p| p.top_p = Some(0.6), &[0, 1]);
    expect(&|p| p.top_p = Some(0.0), &[0]);
    expect(&|p| p.top_p = Some(1.0), ALL);
    // at least 0.3 · 0.4 = 0.12
    expect(&|p| p.min_p = Some(0.3), &[0, 1, 2]);
    expect(&|p| (p.min_p, p.top_p) = (Some(0.3), Some(1.0)), &[0, 1, 2]);
    expect(&|p| p.min_p = Some(1.0), &[0]);
    // entropy 1.5255 nat; distances 0.609 0.139 0.372 0.777 1.288 1.693
    expect(&|p| p.typical_p = Some(0.35), &[1, 2]);
    expect(&|p| p.typical_p = Some(0.5), &[0, 1, 2]);
    // sigma 0.7909: ln p from -0.9163 down to -1.7072, and to -2.1026
    expect(&|p| p.top_n_sigma = Some(1.0), &[0, 1]);
    expect(&|p| p.top_n_sigma = Some(1.5), &[0, 1, 2]);
    expect(&|p| (p.top_n_sigma, p.temperature) = (Some(1.5), Some(3.0)), &[0, 1, 2]);
    expect(&|p| p.top_n_sigma = Some(0.0), ALL);
    expect(&|p| p.xtc = xtc(1.0, 0.12), &[2, 3, 4, 5]);
    // one token above the threshold is no choice to exclude
    expect(&|p| p.xtc = xtc(1.0, 0.3), ALL);
    expect(&|p| p.xtc = xtc(0.0, 0.12), ALL);
    // 2 · 0.9 bits: from 0.287
    expect(&|p| p.mirostat = mirostat(0.9, 0.5), &[0]);
    // it replaces the other filters
    expect(&|p| (p.mirostat, p.top_k) = (mirostat(9.0, 0.5), Some(1)), ALL);
    expect(&|p| (p.mirostat, p.top_p) = (mirostat(9.0, 0.5), Some(0.1)), ALL);
}

#[test]
fn the_order_of_the_stages_shows() {
    // Three kept and renormalized: 0.5, 0.3125, 0.1875. Without that, 0.75 would take all three.
    let both = SamplingParams { top_k: Some(3), top_p: Some(0.75), ..params() };
    assert_eq!(support(&both, six()), [0, 1]);
    // Temperature first: squares, 0.615 of the mass on token 0.
    let cold = SamplingParams { temperature: Some(0.5), top_p: Some(0.6), ..params() };
    assert_eq!(support(&cold, six()), [0]);
    // Typical drops token 0, so that min-p measures by token 1: 0.15 ≥ 0.55 · 0.25.
    let typical = SamplingParams { typical_p: Some(0.35), min_p: Some(0.55), ..params() };
    assert_eq!(support(&typical, six()), [1, 2]);
    // XTC last: of 0.5, 0.3125, 0.1875 two reach 0.3.
    let xtc = SamplingParams {
        top_k: Some(3),
        xtc: Some(Xtc { probability: 1.0, threshold: 0.3 }),
        ..params()
    };
    assert_eq!(support(&xtc, six()), [1, 2]);
}

#[test]
fn mirostat_moves_its_limit_by_the_error() {
    let params = with(|p| p.mirostat = Some(Mirostat { tau: 0.9, eta: 0.5 }));
    let mut sampler = Sampler::new(&params, HashSet::new(), 3);
    // Only token 0 within 1.8 bits; no surprise, so the limit grows to 2.25 bits: from 0.2102.
    assert_eq!(sampler.sample(&mut six(), &[], &[]), 0);
    assert_eq!(support_in(&mut sampler.chain, six()), [0, 1]);
    // Three bits surprise by 2.1 too many: down to 1.2 bits, from 0.435.
    sampler.chain.filters[0].drawn(0.125);
    assert_eq!(support_in(&mut sampler.chain, six()), [0]);
}

/// A vocabulary is searched piece by piece.
#[test]
fn the_best_of_many_is_the_first_of_equals() {
    for [first, second] in [[5000, 9000], [4095, 4096], [9999, 9999], [0, 8192]] {
        let mut logits = vec![-1.0; 10_000];
        logits[7000] = f32::NAN;
        (logits[first], logits[second]) = (2.0, 2.0);
        assert_eq!(ranking::argmax(&logits), u32::try_from(first).ok());
    }
    let none = [f32::NAN, f32::NEG_INFINITY].repeat(4100);
    assert_eq!(ranking::argmax(&none), None);
}

#[test]
fn greedy_takes_the_first_of_the_best_after_penalties() {
    for temperature in [0.0, 1e-8] {
        let greedy = with(|p| p.temperature = Some(temperature));
        let mut sampler = Sampler::new(&greedy, HashSet::new(), 0);
        assert!(sampler.chain.processors.is_empty() && sampler.chain.filters.is_empty());
        assert_eq!(sampler.sample(&mut [1.0, 5.0, f32::NAN, 5.0], &[], &[]), 1);
        assert_eq!(sampler.sample(&mut [1.0, 5.0, f32::NAN, 5.0], &[], &[1]), 3);
    }
    let penalized =
        SamplingParams { temperature: Some(0.0), frequency_penalty: Some(2.0), ..params() };
    let mut sampler = Sampler::new(&penalized, HashSet::new(), 0);
    assert_eq!(sampler.sample(&mut [1.0, 5.0, 4.0], &[1, 1], &[]), 2);
    let single = with(|p| p.top_k = Some(1));
    let mut sampler = Sampler::new(&single, HashSet::new(), 0);
    assert_eq!(sampler.sample(&mut six(), &[], &[0]), 1);
}

#[test]
fn logprobs_are_natural_and_reach_the_whole_vocabulary() {
    let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
    let (chosen, top) = logprobs(&six(), 2, 3);
    close(chosen, 0.15f32.ln());
    assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1, 2]);
    close(top[1].1, 0.25f32.ln());
    for top in [6, 1000] {
        let (_, all) = logprobs(&six(), 0, top);
        assert_eq!(all.len(), 6);
        close(all[5].1, 0.04f32.ln());
    }
    assert!(logprobs(&six(), 0, 0).1.is_empty());

    let odd = [f32::NAN, 1.0, f32::NEG_INFINITY, 1.0, -0.0, 0.0];
    let (chosen, all) = logprobs(&odd, 0, 6);
    assert_eq!(chosen, f32::NEG_INFINITY);
    let ids: Vec<u32> = all.iter().map(|t| t.0).collect();
    assert_eq!(ids, [1, 3, 4, 5, 0, 2]);
    assert_eq!(all[5].1, f32::NEG_INFINITY);
    assert_eq!(logprobs(&odd, 99, 0).0, f32::NEG_INFINITY);
    let (nothing, all) = logprobs(&[f32::NAN; 2], 1, 2);
    assert_eq!(nothing, f32::NEG_INFINITY);
    assert_eq!(all, [(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)]);
    close(logprobs(&[f32::INFINITY, 0.0], 0, 0).0, 0.0);
}
