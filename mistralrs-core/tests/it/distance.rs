//! How far an answer is from its reference values, however the work is cut.

use crate::answers::{Answer, ask, collect, greedy, load, start};
use mistralrs_core::{GenerateOptions, Llm, TokenLogprobs};
use mistralrs_testkit::{GoldenCase, GoldenStep, VOCAB_SIZE, fixture, golden};

/// What f32 arithmetic in another order may differ by.
pub const TOLERANCE: f32 = 1e-3;

/// What rounding to 8 bits of mantissa may do to any log-probability of models this narrow (20 to 64
/// numbers leave little to average out), and on average.
pub const BF16_WORST: f32 = 0.5;
pub const BF16_MEAN: f32 = 0.2;

pub fn scored(case: &GoldenCase) -> GenerateOptions {
    GenerateOptions {
        logprobs: Some(VOCAB_SIZE),
        prompt_logprobs: Some(VOCAB_SIZE),
        ignore_eos: true,
        ..greedy(case.greedy.len())
    }
}

/// The largest distance between an answer and its golden; every one of the tokens must agree.
fn distance(answer: &Answer, case: &GoldenCase) -> f32 {
    assert_eq!(answer.token_ids, case.greedy_ids());
    let prompt = answer.prompt_logprobs.iter().flatten();
    let prompt = prompt.zip(&case.prompt_logprobs).collect::<Vec<_>>();
    let generated = answer.logprobs.iter().zip(&case.greedy).collect::<Vec<_>>();
    if !answer.prompt_logprobs.is_empty() {
        assert_eq!(prompt.len(), case.prompt.len() - 1);
    }
    assert_eq!(generated.len(), case.greedy.len());
    prompt.into_iter().chain(generated).map(|(ours, theirs)| one(ours, theirs)).fold(0., f32::max)
}

pub fn one(ours: &TokenLogprobs, theirs: &GoldenStep) -> f32 {
    assert_eq!(ours.chosen.token_id, theirs.token);
    let find =
        |token: u32| ours.top.iter().find(|c| c.token_id == token).map_or(f32::NAN, |c| c.logprob);
    theirs.distance(find).max((ours.chosen.logprob - theirs.logprob).abs())
}

fn check(llm: &Llm, name: &str) -> f32 {
    let golden = golden(name);
    assert!(!golden.cases.is_empty());
    let worst = golden.cases.iter().map(|case| {
        let alone = distance(&ask(llm, &case.prompt, scored(case)), case);
        // Without prompt scores the prefix cache is in play; the second time it has hits.
        let first = distance(&ask(llm, &case.prompt, unscored(case)), case);
        let hit = ask(llm, &case.prompt, unscored(case));
        let block = llm.stats().block_size_tokens;
        assert_eq!(hit.usage.cached_tokens, (case.prompt.len() - 1) / block * block);
        alone.max(first).max(distance(&hit, case))
    });
    let worst = worst.fold(0., f32::max);
    worst.max(check_in_company(llm, &golden.cases))
}

/// All cases at once, beside prompts of other lengths: a ragged batch.
fn check_in_company(llm: &Llm, cases: &[GoldenCase]) -> f32 {
    let others = cases.iter().flat_map(|case| [1, 2, case.prompt.len() / 2].map(|n| (case, n)));
    let others: Vec<_> = others
        .map(|(case, length)| start(llm, &case.prompt[case.prompt.len() - length..], greedy(9)))
        .collect();
    let scored = cases.iter().map(|case| start(llm, &case.prompt, scored(case)));
    let scored: Vec<_> = scored.collect();
    others.into_iter().for_each(|other| drop(collect(other).unwrap()));
    let answers = scored.into_iter().map(|generation| collect(generation).unwrap());
    answers.zip(cases).map(|(answer, case)| distance(&answer, case)).fold(0., f32::max)
}

fn unscored(case: &GoldenCase) -> GenerateOptions {
    GenerateOptions { prompt_logprobs: None, ..scored(case) }
}

/// Checks a model whole and in chunks of 7, alone and in company: every value within [`TOLERANCE`].
pub fn check_closely(name: &str) {
    let whole = check(&load(&fixture(name), |o| o.block_size = 8), name);
    let chunked = load(&fixture(name), |o| {
        o.prefill_chunk = 7;
        o.block_size = 16;
    });
    let worst = whole.max(check(&chunked, name));
    assert!(worst < TOLERANCE, "{name}: {worst}");
}
