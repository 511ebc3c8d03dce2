//! Every filter against the same thing done the obvious way: all probabilities, one full sort.

use super::*;
use crate::sampling::filters::{
    CandidateFilter, ExcludeTopChoices, MinP, SurpriseLimit, TopK, TopNSigma, TopP, Typical,
};
use crate::sampling::processors::{LogitsProcessor, Temperature};
use proptest::prelude::*;

/// Logits with ties, -inf, NaN and wide gaps.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let entry = prop_oneof![
        6 => -8.0f32..8.0,
        3 => (-6i8..6).prop_map(|n| f32::from(n) * 0.5),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
        1 => -200.0f32..-90.0,
    ];
    prop_oneof![
        4 => prop::collection::vec(entry, 1..300),
        1 => (1usize..300).prop_map(|n| vec![1.5; n]),
    ]
}

/// What the filter keeps, applied to the logits themselves or after they were gathered.
fn kept(filter: &mut dyn CandidateFilter, logits: &[f32], gather_first: bool) -> Vec<u32> {
    let mut logits = scaled(logits);
    let (mut pool, mut rng) = (Pool::default(), ChaCha8Rng::seed_from_u64(5));
    let mut candidates = Candidates::new(&mut logits, &mut pool, &mut rng);
    if gather_first {
        candidates.all();
    }
    filter.apply(&mut candidates);
    candidates.all().iter().map(|c| c.id).collect()
}

fn scaled(logits: &[f32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    Temperature { temperature: 1.0 }.process(&mut logits, &[]);
    logits
}

/// Id, logit, probability of every token that has one, best first, equal ones by id.
fn sorted(logits: &[f32]) -> Vec<(u32, f32, f64)> {
    let logits = scaled(logits);
    let total: f64 = logits.iter().map(|&l| f64::from(ranking::exp(l))).sum();
    let mut all: Vec<_> = (0..)
        .zip(logits)
        .filter(|&(_, l)| l > f32::NEG_INFINITY)
        .map(|(id, l)| (id, l, f64::from(ranking::exp(l)) / total))
        .collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    all
}

fn ids<T>(mut entries: Vec<(u32, f32, T)>) -> Vec<u32> {
    entries.sort_by_key(|e| e.0);
    entries.into_iter().map(|e| e.0).collect()
}

/// The shortest front that reaches the mass.
fn front(entries: Vec<(u32, f32, f64)>, p: f32) -> Vec<u32> {
    let mut mass = 0.0;
    let mut front = Vec::new();
    for entry in entries {
        front.push(entry);
        mass += entry.2;
        if mass as f32 >= p {
            break;
        }
    }
    ids(front)
}

/// Checks a cut by a threshold whose last bits depend on the formula.
fn check_cut(kept: &[u32], all: &[(u32, f32, f64)], cut: f64) {
    for &(id, logit, _) in all {
        if f64::from(logit) > cut + 1e-4 {
            assert!(kept.contains(&id), "{id} is missing");
        } else if f64::from(logit) < cut - 1e-4 {
            assert!(!kept.contains(&id), "{id} is too much");
        }
    }
}

proptest! {
    #[test]
    fn top_k(logits in logits(), k in 1usize..320, gather: bool) {
        let mut expected = sorted(&logits);
        expected.truncate(k);
        prop_assert_eq!(kept(&mut TopK { k }, &logits, gather), ids(expected));
    }

    #[test]
    fn top_p(logits in logits(), p in prop_oneof![0.0f32..1.0, Just(0.5), Just(0.1)], gather: bool) {
        let expected = front(sorted(&logits), p);
        prop_assert_eq!(kept(&mut TopP { p }, &logits, gather), expected);
    }

    #[test]
    fn typical(logits in logits(), p in 0.01f32..1.0, gather: bool) {
        let mut by_id = sorted(&logits);
        by_id.sort_by_key(|e| e.0);
        let log_total = by_id.iter().map(|e| f64::from(ranking::exp(e.1))).sum::<f64>().ln();
        let entropy: f64 = by_id.iter().map(|e| e.2 * (log_total - f64::from(e.1))).sum();
        let distance = |e: &(u32, f32, f64)| (log_total - f64::from(e.1) - entropy).abs() as f32;
        by_id.sort_by(|a, b| distance(a).partial_cmp(&distance(b)).unwrap().then(a.0.cmp(&b.0)));
        prop_assert_eq!(kept(&mut Typical { p }, &logits, gather), front(by_id, p));
    }

    #[test]
    fn min_p(logits in logits(), p in 0.001f32..1.0, gather: bool) {
        let all = sorted(&logits);
        let kept = kept(&mut MinP { p }, &logits, gather);
        check_cut(&kept, &all, f64::from(p).ln());
        prop_assert!(all.is_empty() || kept.contains(&all[0].0));
    }

    #[test]
    fn top_n_sigma(logits in logits(), n in 0.1f32..3.0, gather: bool) {
        let all = sorted(&logits);
        let count = all.len() as f64;
        let mean = all.iter().map(|e| f64::from(e.1)).sum::<f64>() / count;
        let variance = all.iter().map(|e| (f64::from(e.1) - mean).powi(2)).sum::<f64>() / count;
        let kept = kept(&mut TopNSigma { n }, &logits, gather);
        check_cut(&kept, &all, -f64::from(n) * variance.sqrt());
        prop_assert!(all.is_empty() || kept.contains(&all[0].0));
    }

    #[test]
    fn mirostat(logits in logits(), tau in 0.1f32..6.0, gather: bool) {
        let all = sorted(&logits);
        let kept = kept(&mut SurpriseLimit::new(tau, 0.1), &logits, gather);
        if let Some(best) = all.first() {
            // -log2 p ≤ 2 tau, but the best stays
            let log_total = -best.2.ln();
            let cut = log_total - 2.0 * f64::from(tau) * std::f64::consts::LN_2;
            check_cut(&kept, &all, cut.min(0.0));
            prop_assert!(kept.contains(&best.0));
        }
    }

    #[test]
    fn xtc(logits in logits(), threshold in 0.001f32..0.5, gather: bool) {
        let mut expected = sorted(&logits);
        let top = expected.iter().filter(|e| e.2 as f32 >= threshold).count();
        expected.drain(..top.saturating_sub(1));
        let mut filter = ExcludeTopChoices { probability: 1.0, threshold };
        prop_assert_eq!(kept(&mut filter, &logits, gather), ids(expected));
    }

    #[test]
    fn the_draw_does_not_depend_on_gathering(logits in logits(), seed: u64) {
        let draw = |gather: bool| {
            let mut logits = scaled(&logits);
            let (mut pool, mut rng) = (Pool::default(), ChaCha8Rng::seed_from_u64(seed));
            let mut candidates = Candidates::new(&mut logits, &mut pool, &mut rng);
            if gather {
                candidates.all();
            }
            candidates.draw()
        };
        match (draw(false), draw(true)) {
            (Some((id, p)), Some((other, q))) => {
                prop_assert_eq!(id, other);
                prop_assert!((p - q).abs() < 1e-12);
            }
            (one, two) => prop_assert_eq!(one, two),
        }
    }

    #[test]
    fn exp_is_near_the_true_value(x in -100.0f32..=0.0) {
        let (found, wanted) = (f64::from(ranking::exp(x)), f64::from(x).exp());
        if x < -87.7 {
            prop_assert_eq!(found, 0.0);
        } else if x > -87.6 {
            prop_assert!((found / wanted - 1.0).abs() < 3e-7, "{} {}", found, wanted);
        }
    }

    #[test]
    fn sums_of_exp(logits in logits()) {
        let logits = scaled(&logits);
        let wanted: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let found = ranking::sum_of_exp(&logits);
        prop_assert!((found - wanted).abs() <= 1e-6 * wanted);
    }

    #[test]
    fn best_of_many(logits in logits(), k in 0usize..320) {
        let mut expected: Vec<(u32, f32)> = (0..)
            .zip(&logits)
            .map(|(id, &l)| (id, if l.is_nan() { f32::NEG_INFINITY } else { l }))
            .collect();
        expected.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        let first = expected[0];
        let first = (first.1 > f32::NEG_INFINITY).then_some(first.0);
        prop_assert_eq!(ranking::argmax(&logits), first);
        expected.truncate(k);
        prop_assert_eq!(ranking::best(&logits, k), expected);
    }
}

#[test]
fn exp_at_the_ends() {
    let exps = [0.0, -0.0, -87.0, f32::NEG_INFINITY, f32::MIN, f32::NAN].map(ranking::exp);
    assert_eq!(exps.map(|e| e == 1.0), [true, true, false, false, false, false]);
    assert!(exps[2] > 1.6e-38 && exps[2] < 1.7e-38);
    assert_eq!(exps[3..], [0.0; 3]);
}

/// Large enough that the floors do their work and the halving goes on for a while.
#[test]
fn a_real_vocabulary() {
    let mut state = 1u64;
    let logits: Vec<f32> = (0..20_011)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            let uniform = (state >> 40) as f32 / 16_777_216.0;
            (uniform.max(1e-6).ln() * -3.0 * 8.0).round() / 8.0 // steps of 1/8: many ties
        })
        .collect();
    for k in [1, 2, 40, 312, 313, 5000, 20_011] {
        let mut expected = sorted(&logits);
        expected.truncate(k);
        assert_eq!(kept(&mut TopK { k }, &logits, false), ids(expected), "k = {k}");
    }
    for temperature in [1.0, 20.0] {
        let logits: Vec<f32> = logits.iter().map(|l| l / temperature).collect();
        for p in [0.05, 0.5, 0.9, 0.999] {
            let expected = front(sorted(&logits), p);
            assert_eq!(kept(&mut TopP { p }, &logits, false), expected, "p = {p}");
        }
    }
}
