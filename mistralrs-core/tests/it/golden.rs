//! Every architecture against transformers, in numbers: log-probabilities of prompt and greedy
//! continuation, however the work is cut.

use crate::answers::{Answer, ask, greedy, load};
use mistralrs_core::models::ARCHITECTURES;
use mistralrs_core::{GenerateOptions, Llm, TokenLogprobs};
use mistralrs_testkit::{
    GGUF_MODELS, GoldenCase, GoldenStep, HF_MODELS, VOCAB_SIZE, fixture, golden, shared,
    stories260k, stories260k_reference,
};

/// What f32 arithmetic in another order may differ by.
const TOLERANCE: f32 = 1e-3;

fn scored(case: &GoldenCase) -> GenerateOptions {
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

fn one(ours: &TokenLogprobs, theirs: &GoldenStep) -> f32 {
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
        let unscored = GenerateOptions { prompt_logprobs: None, ..scored(case) };
        let first = distance(&ask(llm, &case.prompt, unscored.clone()), case);
        let hit = ask(llm, &case.prompt, unscored);
        let block = llm.stats().block_size_tokens;
        assert_eq!(hit.usage.cached_tokens, (case.prompt.len() - 1) / block * block);
        alone.max(first).max(distance(&hit, case))
    });
    worst.fold(0., f32::max)
}

#[test]
fn every_model_agrees_with_transformers() {
    for name in HF_MODELS.iter().chain(&GGUF_MODELS) {
        let whole = check(&load(&fixture(name), |o| o.block_size = 8), name);
        let chunked = load(&fixture(name), |o| {
            o.prefill_chunk = 7;
            o.block_size = 16;
        });
        let worst = whole.max(check(&chunked, name));
        assert!(worst < TOLERANCE, "{name}: {worst}");
        println!("{name}: {worst:.1e}");
    }
}

#[test]
fn both_generations_of_config_give_the_same() {
    for name in HF_MODELS {
        let old = mistralrs_testkit::with_old_config(name);
        let (new, old) = (load(&fixture(name), |_| ()), load(old.path(), |_| ()));
        for case in golden(name).cases {
            let new = ask(&new, &case.prompt, scored(&case));
            assert_eq!(new.bits(), ask(&old, &case.prompt, scored(&case)).bits(), "{name}");
        }
    }
}

#[test]
fn every_architecture_has_a_golden() {
    for row in ARCHITECTURES {
        let covered = HF_MODELS.iter().any(|name| {
            let config = std::fs::read_to_string(fixture(name).join("config.json")).unwrap();
            config.contains(row.name)
        });
        assert!(covered, "{} has no fixture", row.name);
    }
}

#[test]
fn stories_are_told_word_for_word() {
    let reference = stories260k_reference();
    let llm = load(&stories260k(), |_| ());
    for case in &reference.cases {
        let answer = ask(&llm, &case.prompt_ids, greedy(200));
        assert_eq!(answer.token_ids, case.greedy_200_ids);
    }
    let from_bos = &reference.cases[0];
    let answer = ask(&llm, &from_bos.prompt_ids, greedy(200));
    assert_eq!(answer.text.trim_start(), reference.expected_stdout);
}

#[test]
fn quantised_stories_follow_their_dequantised_reference() {
    let reference = stories260k_reference();
    let q8_0 = load(&fixture("stories260K-q8_0.gguf"), |_| ());
    assert_eq!(ask(&q8_0, &[1], greedy(60)).token_ids, reference.gguf.q8_0.greedy_60_ids);
    // The other files lie outside the project.
    if let Some(file) = shared("models/stories260K-q4_0.gguf") {
        let q4_0 = load(&file, |_| ());
        assert_eq!(ask(&q4_0, &[1], greedy(60)).token_ids, reference.gguf.q4_0.greedy_60_ids);
    }
    if let Some(file) = shared("models/stories260K-f32.gguf") {
        let f32 = load(&file, |_| ());
        let from_bos = &reference.cases[0];
        let answer = ask(&f32, &from_bos.prompt_ids, greedy(200));
        assert_eq!(answer.token_ids, from_bos.greedy_200_ids);
        assert_eq!(answer.text.trim_start(), reference.expected_stdout);
    }
}
