//! One request's life: ends, limits, refusals, cancellation, seeds.

use crate::answers::{ask, chat, collect, greedy, load, start};
use crate::media::conversation;
use mistralrs_core::{
    ChatRequest, CompletionRequest, FinishReason, GenerateOptions, Llm, Prompt, RequestError,
    SamplingParams,
};
use mistralrs_testkit::media::media_golden;
use mistralrs_testkit::{fixture, golden, stories260k};
use std::time::{Duration, Instant};

fn tiny() -> Llm {
    load(&fixture("llama-plain"), |o| o.block_size = 8)
}

fn prompt() -> Vec<u32> {
    golden("llama-plain").cases[1].prompt.clone()
}

fn refusal(llm: &Llm, prompt: Prompt, options: GenerateOptions) -> RequestError {
    match llm.complete(CompletionRequest { prompt, options }) {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error,
    }
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let llm = load(&stories260k(), |_| ());
    let all = ask(&llm, &[1], greedy(40));
    assert!(all.text.contains("little girl"), "{}", all.text);
    let options = GenerateOptions { stop: vec!["zebra".into(), "tle gi".into()], ..greedy(40) };
    let stopped = ask(&llm, &[1], options);
    assert_eq!(stopped.reason, FinishReason::Stop);
    assert_eq!(stopped.stop_string.as_deref(), Some("tle gi"));
    assert_eq!(stopped.text, all.text.split("tle gi").next().unwrap());
    assert!(stopped.usage.completion_tokens < 40);
}

#[test]
fn a_stop_token_is_counted_but_not_shown() {
    let llm = tiny();
    let free = ask(&llm, &prompt(), GenerateOptions { ignore_eos: true, ..greedy(10) });
    let stop = free.token_ids[4];
    let at = free.token_ids.iter().position(|id| *id == stop).unwrap();
    let options = || GenerateOptions { stop_token_ids: vec![stop], ignore_eos: true, ..greedy(10) };
    let stopped = ask(&llm, &prompt(), options());
    assert_eq!(stopped.reason, FinishReason::Stop);
    assert_eq!(stopped.token_ids, free.token_ids[..at]);
    assert_eq!(stopped.usage.completion_tokens, at + 1);
    let held = ask(&llm, &prompt(), GenerateOptions { min_tokens: 8, ..options() });
    assert!(held.token_ids.len() >= 8);
    assert!(!held.token_ids[..8].contains(&stop));
}

#[test]
fn lengths_are_honoured_and_capped_by_the_context() {
    let llm = load(&fixture("llama-plain"), |o| o.max_seq_len = Some(32));
    assert_eq!(llm.info().max_sequence_length, 32);
    let free = |n| GenerateOptions { ignore_eos: true, ..greedy(n) };
    assert_eq!(ask(&llm, &prompt(), free(5)).token_ids.len(), 5);
    assert_eq!(ask(&llm, &prompt(), free(0)).token_ids.len(), 0);
    let unlimited = GenerateOptions { max_tokens: None, ..free(0) };
    let answer = ask(&llm, &prompt(), unlimited);
    assert_eq!(answer.token_ids.len(), 32 - prompt().len());
    assert_eq!(answer.reason, FinishReason::Length);
    assert_eq!(ask(&llm, &[5; 32], free(3)).token_ids.len(), 0, "no room left");
    let error = refusal(&llm, Prompt::Tokens(vec![5; 33]), free(3));
    assert!(matches!(error, RequestError::TooLong { prompt_tokens: 33, limit: 32 }));
    let cut = GenerateOptions { truncate_sequence: true, ..free(3) };
    let answer = ask(&llm, &[&[9; 50][..], &prompt()].concat(), cut);
    assert_eq!((answer.usage.prompt_tokens, answer.token_ids.len()), (29, 3));
}

#[test]
fn impossible_requests_name_the_field() {
    let llm = tiny();
    let param = |error| match error {
        RequestError::Invalid { param, message } => (param, message),
        other => panic!("{other}"),
    };
    let tokens = |ids: &[u32]| Prompt::Tokens(ids.to_vec());
    assert_eq!(param(refusal(&llm, tokens(&[]), greedy(1))).0, "prompt");
    let (name, message) = param(refusal(&llm, tokens(&[1, 999_999]), greedy(1)));
    assert_eq!(name, "prompt");
    assert!(message.contains("999999") && message.contains("308"), "{message}");
    let stop = GenerateOptions { stop_token_ids: vec![308], ..greedy(1) };
    assert_eq!(param(refusal(&llm, tokens(&[1]), stop)).0, "stop_token_ids");
    let sampling = SamplingParams { top_p: Some(f32::NAN), ..SamplingParams::default() };
    let options = GenerateOptions { sampling, ..GenerateOptions::default() };
    assert_eq!(param(refusal(&llm, tokens(&[1]), options)).0, "top_p");
}

#[test]
fn seeds_repeat_and_differ() {
    let llm = tiny();
    let with = |seed| {
        let sampling = SamplingParams { temperature: Some(1.), seed, ..SamplingParams::default() };
        let options = GenerateOptions {
            sampling,
            max_tokens: Some(20),
            ignore_eos: true,
            ..GenerateOptions::default()
        };
        ask(&llm, &prompt(), options).token_ids
    };
    assert_eq!(with(Some(7)), with(Some(7)));
    assert_ne!(with(Some(7)), with(Some(8)));
    assert_ne!(with(None), with(None), "each request without a seed gets its own");
}

/// Waits until the engine has nothing to do; fails after a generous while.
fn wait_idle(llm: &Llm) {
    let start = Instant::now();
    loop {
        let stats = llm.stats();
        if (stats.running_requests, stats.waiting_requests, stats.kv_blocks_used) == (0, 0, 0) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_dropped_answer_gives_its_blocks_back() {
    let llm = load(&stories260k(), |o| o.max_seqs = 2);
    let options = || GenerateOptions { ignore_eos: true, ..greedy(500) };
    let generations: Vec<_> = (0..6).map(|_| start(&llm, &[1], options())).collect();
    assert!(llm.stats().waiting_requests > 0);
    drop(generations);
    wait_idle(&llm);
    assert!(llm.stats().generated_tokens_total < 3000);
}

#[test]
fn a_full_queue_refuses_with_the_number() {
    let llm = load(&stories260k(), |o| {
        o.max_seqs = 1;
        o.max_queue = 2;
    });
    let options = || GenerateOptions { ignore_eos: true, ..greedy(400) };
    let mut held = Vec::new();
    let error = loop {
        let prompt = Prompt::Tokens(vec![1]);
        match llm.complete(CompletionRequest { prompt, options: options() }) {
            Ok(generation) => held.push(generation),
            Err(error) => break error,
        }
        assert!(held.len() <= 3, "one runs and two wait");
    };
    assert!(matches!(error, RequestError::Overloaded { queued: 2 }), "{error}");
    held.truncate(1);
    let answer = collect(held.remove(0)).unwrap();
    assert_eq!(answer.token_ids.len(), 400);
    assert_eq!(ask(&llm, &[1], greedy(3)).token_ids.len(), 3);
}

#[test]
fn a_deadline_ends_the_request_and_nobody_else() {
    let llm = load(&stories260k(), |_| ());
    let late = GenerateOptions { timeout: Some(Duration::ZERO), ..greedy(400) };
    let (late, other) = (start(&llm, &[1], late), start(&llm, &[1], greedy(50)));
    let error = collect(late).unwrap_err();
    assert!(matches!(error, RequestError::Timeout { timeout_ms: 0 }), "{error}");
    assert_eq!(collect(other).unwrap().token_ids.len(), 50);
}

#[test]
fn shutdown_ends_what_runs_and_refuses_what_comes() {
    let llm = load(&stories260k(), |_| ());
    let generation = start(&llm, &[1], GenerateOptions { ignore_eos: true, ..greedy(500) });
    llm.shutdown();
    assert!(matches!(collect(generation), Err(RequestError::Shutdown)));
    let error = refusal(&llm, Prompt::Tokens(vec![1]), greedy(1));
    assert!(matches!(error, RequestError::Shutdown));
}

#[test]
fn warm_up_leaves_the_engine_idle_and_ready() {
    let llm = load(&stories260k(), |o| o.warm_up = true);
    wait_idle(&llm);
    assert_eq!(llm.stats().generated_tokens_total, 1);
    assert_eq!(ask(&llm, &[1], greedy(3)).token_ids.len(), 3);
}

#[test]
fn an_answer_outlives_the_handle_it_came_from() {
    let llm = load(&stories260k(), |_| ());
    let generation = start(&llm, &[1], greedy(30));
    drop(llm);
    assert_eq!(collect(generation).unwrap().token_ids.len(), 30);
}

#[test]
fn several_answers_share_one_reading_of_the_conversation() {
    let golden = media_golden("qwen3-vl");
    let request = conversation("qwen3-vl", &golden.cases[2]);
    // No room for what is read a second time while the first is needed.
    let llm = load(&fixture("qwen3-vl"), |o| o.media_in_flight_bytes = 0);
    let seeded = |seed| {
        let sampling =
            SamplingParams { temperature: Some(1.5), seed: Some(seed), ..Default::default() };
        GenerateOptions { sampling, max_tokens: Some(40), ..request.options.clone() }
    };
    let answers = llm.answers(&request, [1, 2, 3].map(seeded).into()).unwrap();
    let answers: Vec<_> = answers.into_iter().map(|answer| collect(answer).unwrap()).collect();
    assert_eq!(llm.stats().media_encoded_total, 2);
    for (seed, answer) in (1..).zip(&answers) {
        wait_idle(&llm);
        let request = ChatRequest { options: seeded(seed), ..request.clone() };
        let alone = chat(&llm, &request);
        assert_eq!((answer.token_ids.len(), answer.bits()), (40, alone.bits()));
    }
    assert_ne!(answers[0].token_ids, answers[1].token_ids);
}
