//! A sequence's result is its own, to the bit: alone, in company, cut anywhere, preempted, or on a
//! shared prefix.

use crate::answers::{Answer, Dice, ask, chat, collect, load, start};
use crate::media::ALL;
use crate::released::{chats, chats_together};
use mistralrs_core::kv_cache::KvNumbers;
use mistralrs_core::{ChatRequest, GenerateOptions, Llm, LoadOptions, SamplingParams};
use mistralrs_testkit::media::MediaCase;
use mistralrs_testkit::{copy_of, fixture, golden, in_bfloat16};
use std::path::Path;

const VOCAB: usize = 300;

/// A request of random shape: prompt, length, and a sampler with a seed of its own.
fn request(dice: &mut Dice, shared_prefix: &[u32]) -> (Vec<u32>, GenerateOptions) {
    let mut prompt: Vec<u32> = shared_prefix[..dice.roll(shared_prefix.len())].to_vec();
    prompt.extend((0..1 + dice.roll(60)).map(|_| dice.roll(VOCAB) as u32));
    let sampling = SamplingParams {
        temperature: Some(if dice.roll(2) == 0 { 0. } else { 1.5 }),
        top_k: Some(50),
        repetition_penalty: Some(1.1),
        seed: Some(dice.roll(1000) as u64),
        ..SamplingParams::default()
    };
    let options = GenerateOptions {
        max_tokens: Some(1 + dice.roll(30)),
        ignore_eos: true,
        sampling,
        logprobs: Some(3),
        ..GenerateOptions::default()
    };
    (prompt, options)
}

fn requests(seed: u64, count: usize) -> Vec<(Vec<u32>, GenerateOptions)> {
    let mut dice = Dice(seed);
    let prefix: Vec<u32> = (0..80).map(|_| dice.roll(VOCAB) as u32).collect();
    (0..count).map(|_| request(&mut dice, &prefix)).collect()
}

/// All at once; results in order.
fn together(llm: &Llm, requests: &[(Vec<u32>, GenerateOptions)]) -> Vec<Answer> {
    let started: Vec<_> = requests.iter().map(|(p, o)| start(llm, p, o.clone())).collect();
    started.into_iter().map(|generation| collect(generation).unwrap()).collect()
}

fn check(model: &str, seed: u64, change: impl Fn(&mut LoadOptions)) -> Llm {
    check_files(&fixture(model), seed, change)
}

fn check_files(files: &Path, seed: u64, change: impl Fn(&mut LoadOptions)) -> Llm {
    let model = files.display();
    let requests = requests(seed, 24);
    let mut kv_numbers = None;
    let llm = load(files, |o| {
        change(o);
        kv_numbers = o.kv_numbers;
    });
    let solo = load(files, |o| {
        (o.prefix_cache, o.max_seqs, o.kv_numbers) = (false, 1, kv_numbers);
    });
    for round in 0..2 {
        for ((prompt, options), answer) in requests.iter().zip(together(&llm, &requests)) {
            let alone = ask(&solo, prompt, options.clone());
            assert_eq!(answer.token_ids, alone.token_ids, "{model}, round {round}");
            assert_eq!(answer.bits(), alone.bits(), "{model}, round {round}");
        }
    }
    let stats = llm.stats();
    assert_eq!((stats.kv_blocks_used, stats.running_requests, stats.waiting_requests), (0, 0, 0));
    assert_eq!(stats.failed_steps_total, 0);
    llm
}

#[test]
fn company_and_chunks_do_not_matter() {
    for (seed, model) in [
        (3, "llama-plain"),
        (4, "qwen2-tied"),
        (5, "qwen2-tied-q8_0.gguf"),
        // Windows and two rotations; sequences that outgrow a context.
        (6, "gemma3"),
        (7, "phi3"),
        // Windows in some layers: every second, of shared keys and values, of all that do not rotate.
        (8, "gemma2"),
        (9, "gemma3n"),
        (10, "smollm3"),
    ] {
        for prefill_chunk in [1, 5, 64, 512] {
            check(model, seed, |o| {
                o.prefill_chunk = prefill_chunk;
                o.block_size = 8;
                o.max_seqs = 1 + prefill_chunk % 7;
            });
        }
    }
}

/// Windows, keys and values of other layers, latents, and heads of one group and of parts of one.
#[test]
fn company_and_preemption_do_not_matter_with_a_cache_in_bytes() {
    for (seed, model) in
        [(12, "llama-plain"), (13, "gemma3"), (14, "gemma3n"), (15, "deepseek-v3"), (16, "qwen3")]
    {
        let in_bytes = |o: &mut LoadOptions| o.kv_numbers = Some(KvNumbers::Q8);
        for prefill_chunk in [5, 64] {
            check(model, seed, |o| {
                in_bytes(o);
                (o.prefill_chunk, o.block_size, o.max_seqs) = (prefill_chunk, 8, 6);
            });
        }
        check(model, seed, |o| {
            in_bytes(o);
            one_context(o);
        });
    }
}

/// Random schedules with weights in bfloat16: up to 32 sequences, chunks of 1 to 512, shared prefixes, and
/// a cache so small that some are preempted.
#[test]
fn schedules_do_not_matter_in_bfloat16() {
    let files = in_bfloat16("qwen2-untied");
    let mut dice = Dice(11);
    for seed in 20..23 {
        let (chunk, seqs) = (1 + dice.roll(512), 1 + dice.roll(32));
        check_files(files.path(), seed, |o| (o.prefill_chunk, o.max_seqs) = (chunk, seqs));
    }
    let llm = check_files(files.path(), 23, one_context);
    assert!(llm.stats().preemptions_total > 0, "the cache was meant to be too small");
}

#[test]
fn preemption_does_not_matter() {
    // With windows in all layers sequences stop growing, and nobody is preempted.
    let without_window = copy_of("phi3");
    let config = without_window.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let wide = text.replace("\"sliding_window\": 13", "\"sliding_window\": null");
    assert_ne!(text, wide);
    std::fs::write(&config, wide).unwrap();
    let mixed = ["gemma2", "gemma3", "gemma3n", "smollm3", "qwen3", "qwen2-moe"].map(fixture);
    let plain = [fixture("qwen2-untied"), without_window.path().to_owned()];
    for files in plain.iter().chain(&mixed) {
        let llm = check_files(files, 9, one_context);
        assert!(llm.stats().preemptions_total > 0, "the cache was meant to be too small");
    }
}

/// Everybody has media here, so who is preempted has, too.
#[test]
fn preemption_does_not_matter_to_who_sees() {
    for name in ALL {
        let about_media = |(case, _): &(MediaCase, _)| {
            case.images.len() + case.videos.len() + case.sounds.len() > 0
        };
        // Each grows to nearly a context: any two together are too many.
        let requests =
            chats(name).into_iter().filter(about_media).flat_map(|(case, mut request)| {
                request.options.max_tokens = Some(170 - case.text.prompt.len());
                vec![request; 3]
            });
        let requests: Vec<ChatRequest> = requests.collect();
        let llm = load(&fixture(name), one_context);
        let solo = load(&fixture(name), |o| (o.prefix_cache, o.max_seqs) = (false, 1));
        for (request, answer) in requests.iter().zip(chats_together(&llm, &requests)) {
            assert_eq!(answer.bits(), chat(&solo, request).bits(), "{name}");
        }
        let (stats, encoded) = (llm.stats(), solo.stats().media_encoded_total);
        assert!(stats.preemptions_total > 0, "{name}: the cache was meant to be too small");
        assert_eq!(stats.media_encoded_total, encoded, "{name}: each is looked at once");
        assert_eq!((stats.failed_steps_total, stats.kv_blocks_used), (0, 0), "{name}");
    }
}

/// A cache of no more than one context.
fn one_context(options: &mut LoadOptions) {
    options.block_size = 8;
    options.max_seq_len = Some(176);
    options.kv_cache_tokens = Some(176);
    options.prefill_chunk = 16;
}

/// Sequences give back what has left the window, others take it at once.
#[test]
fn blocks_given_back_do_not_matter() {
    for model in ["mistral", "phi3", "starcoder2", "mixtral-window"] {
        check(model, 10, one_context);
    }
}

/// Where some layers have a window, these have memory for windows and one step alone, however long
/// the answers are.
#[test]
fn layers_with_a_window_need_no_more_than_it() {
    for model in ["gemma2", "gemma3", "gemma3n", "smollm3", "qwen3", "qwen2-moe"] {
        let files = fixture(model);
        let llm = load(&files, |o| (o.block_size, o.max_seqs, o.prefill_chunk) = (8, 3, 16));
        // A window of 9 tokens and two blocks for each, a step of 16 tokens and one for each, one more.
        let stats = llm.stats();
        assert_eq!(stats.kv_window_blocks_total, (3 * (9 + 16) + 16 + 3 + 1usize).div_ceil(8));
        let solo = load(&files, |o| (o.prefix_cache, o.max_seqs) = (false, 1));
        let mut dice = Dice(5);
        let requests: Vec<_> = [30, 3, 50]
            .map(|length| {
                let prompt: Vec<u32> = (0..length).map(|_| dice.roll(VOCAB) as u32).collect();
                let options = GenerateOptions { logprobs: Some(1), ..crate::answers::greedy(190) };
                (prompt, GenerateOptions { ignore_eos: true, ..options })
            })
            .into();
        for ((prompt, options), answer) in requests.iter().zip(together(&llm, &requests)) {
            assert_eq!(answer.usage.completion_tokens, 190, "{model}");
            assert_eq!(answer.bits(), ask(&solo, prompt, options.clone()).bits(), "{model}");
        }
        let (stats, held) = (llm.stats(), [220, 193, 240].map(|tokens: usize| tokens.div_ceil(8)));
        assert!(stats.kv_window_blocks_total < held.iter().sum(), "{model}: no need to give back");
        assert_eq!((stats.preemptions_total, stats.kv_window_blocks_used), (0, 0), "{model}");
        // What a conversation left is found by its next turn.
        let (prompt, options) = &requests[0];
        let longer = [&prompt[..], &ask(&llm, prompt, options.clone()).token_ids[..]].concat();
        let found = ask(&llm, &longer, crate::answers::greedy(1)).usage.cached_tokens;
        assert_eq!(found, 216, "{model}: of 220 tokens, the last of them never computed");
    }
}

#[test]
fn a_shared_prefix_is_found_after_its_request_has_ended() {
    let llm = load(&fixture("llama-plain"), |o| o.block_size = 8);
    let case = &golden("llama-plain").cases[0];
    let options = || GenerateOptions { logprobs: Some(1), ..crate::answers::greedy(8) };
    let first = ask(&llm, &case.prompt, options());
    let second = ask(&llm, &case.prompt, options());
    assert_eq!(first.usage.cached_tokens, 0);
    assert_eq!(second.usage.cached_tokens, 32, "40 tokens: the last block is computed");
    assert_eq!(first.bits(), second.bits());
    // What was generated is cached as well.
    let longer = [&case.prompt[..], &first.token_ids[..]].concat();
    assert_eq!(ask(&llm, &longer, options()).usage.cached_tokens, 40);
    let stats = llm.stats();
    assert_eq!(stats.cached_tokens_total, 72);
    assert_eq!(stats.kv_blocks_used, 0);

    let off = load(&fixture("llama-plain"), |o| o.prefix_cache = false);
    for _ in 0..2 {
        assert_eq!(ask(&off, &case.prompt, options()).usage.cached_tokens, 0);
    }
}
