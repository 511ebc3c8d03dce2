//! The engine over models that are not models: what happens when a step fails or panics, who is
//! scheduled when, and that an idle engine sleeps and ends.

mod media;

use super::scheduler::Scheduler;
use super::sequence::Sequence;
use super::*;
use crate::forward::ForwardBatch;
use crate::kv_cache::block_pool::BlockPool;
use crate::kv_cache::{KvNumbers, KvSpec};
use crate::places::LayerPlaces;
use crate::sampling::SamplingParams;
use candle_core::{Device, Tensor};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

const VOCAB: usize = 32;
const POISON: u32 = 13;

/// Says the next number; token 13 makes the step panic, 14 makes it fail.
struct Counter {
    steps: Arc<AtomicUsize>,
}

impl Model for Counter {
    fn forward(&self, batch: &ForwardBatch, _kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        assert!(!batch.token_ids.contains(&POISON), "poisoned");
        if batch.token_ids.contains(&(POISON + 1)) {
            candle_core::bail!("refused");
        }
        let mut logits = vec![0f32; batch.logit_rows.len() * VOCAB];
        for (row, out) in batch.logit_rows.iter().zip(logits.chunks_mut(VOCAB)) {
            out[(batch.token_ids[*row as usize] as usize + 1) % VOCAB] = 9.;
        }
        Tensor::from_vec(logits, (batch.logit_rows.len(), VOCAB), &Device::Cpu)
    }
}

fn limits() -> EngineLimits {
    EngineLimits {
        max_seqs: 4,
        max_queue: 64,
        prefill_chunk: 8,
        short_context: None,
        media_cache_bytes: 1 << 20,
    }
}

/// Blocks for layers that see everything.
fn plain(num_blocks: usize) -> BlockGroups {
    BlockGroups::new([(num_blocks, None)], 4, true)
}

fn engine(blocks: usize) -> (EngineHandle, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let model = Box::new(Counter { steps: Arc::clone(&steps) });
    let kv = KvCache::allocate(
        &KvSpec::uniform(1, 1, 1),
        &[blocks],
        4,
        KvNumbers::F32,
        &LayerPlaces::default(),
    )
    .unwrap();
    let groups = plain(blocks);
    (EngineHandle::spawn(model, kv, groups, limits()).unwrap(), steps)
}

fn request(prompt: &[u32], max_tokens: usize) -> GenerationRequest {
    let params = SamplingParams { temperature: Some(0.), ..SamplingParams::default() };
    GenerationRequest {
        prompt: prompt.to_vec(),
        media: Vec::new(),
        max_tokens,
        min_tokens: 0,
        stop_token_ids: vec![31],
        sampler: Sampler::new(&params, HashSet::new(), 0),
        logprobs: None,
        prompt_logprobs: None,
        timeout: None,
    }
}

/// The tokens and the last event.
fn drain(mut events: UnboundedReceiver<TokenEvent>) -> (Vec<u32>, TokenEvent) {
    let mut tokens = Vec::new();
    loop {
        match events.blocking_recv().expect("a last word") {
            TokenEvent::Token { token_id, .. } => tokens.push(token_id),
            TokenEvent::Prompt { .. } => {}
            last => return (tokens, last),
        }
    }
}

#[test]
fn a_failing_step_takes_only_its_own_sequences_with_it() {
    let (engine, _) = engine(64);
    for poison in [POISON, POISON + 1] {
        let (_, last) = drain(engine.submit(request(&[poison], 5)).unwrap());
        assert!(matches!(last, TokenEvent::Failed(FailureKind::Internal(_))), "{last:?}");
        let (tokens, last) = drain(engine.submit(request(&[1, 2, 3], 4)).unwrap());
        assert_eq!(tokens, [4, 5, 6, 7]);
        assert!(matches!(last, TokenEvent::Finished { generated_tokens: 4, .. }));
    }
    let stats = engine.stats();
    assert_eq!((stats.failed_steps_total, stats.kv_blocks_used), (2, 0));
}

#[test]
fn a_queue_behind_a_failing_step_is_served() {
    let (engine, _) = engine(64);
    // The poisoned prompt fills several chunks, so the others arrive while it is computed.
    let mut long = vec![1; 40];
    long.push(POISON);
    let poisoned = engine.submit(request(&long, 1)).unwrap();
    let others: Vec<_> = (0..8).map(|_| engine.submit(request(&[1], 3)).unwrap()).collect();
    assert!(matches!(drain(poisoned).1, TokenEvent::Failed(FailureKind::Internal(_))));
    let served = others.into_iter().map(drain);
    let served = served.filter(|(tokens, _)| *tokens == [2, 3, 4]).count();
    assert!(served >= 4, "at most three shared the failing step, {served} of 8 were served");
}

#[test]
fn stop_tokens_end_and_are_counted() {
    let (engine, _) = engine(64);
    let (tokens, last) = drain(engine.submit(request(&[28], 10)).unwrap());
    assert_eq!(tokens, [29, 30]);
    let TokenEvent::Finished { reason, generated_tokens, timings } = last else {
        panic!("{last:?}");
    };
    assert_eq!((reason, generated_tokens), (FinishReason::Stop, 3));
    assert!(timings.queue <= timings.first_token && timings.decode > Duration::ZERO);
}

#[test]
fn an_idle_engine_takes_no_steps_and_wakes() {
    let (engine, steps) = engine(64);
    drain(engine.submit(request(&[1], 3)).unwrap());
    let before = steps.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(steps.load(Ordering::Relaxed), before);
    for n in 0..100 {
        let (tokens, _) = drain(engine.submit(request(&[n % 8], 1)).unwrap());
        assert_eq!(tokens, [n % 8 + 1]);
    }
}

#[test]
fn dropping_the_handle_ends_the_thread() {
    let (engine, _) = engine(64);
    // Past the poison, towards which it would count until the end is heard of.
    let events = engine.submit(request(&[POISON + 2], usize::MAX)).unwrap();
    drop(engine);
    assert!(matches!(
        drain(events).1,
        TokenEvent::Failed(FailureKind::Shutdown) | TokenEvent::Finished { .. }
    ));
}

fn sequence(prompt_len: usize) -> (Sequence, UnboundedReceiver<TokenEvent>) {
    let (events, receiver) = unbounded_channel();
    let request = request(&vec![1; prompt_len], 100);
    (Sequence::new(Submission { request, events, submitted: Instant::now() }, &limits()), receiver)
}

/// Advances a plan as if it had been computed, drawing token 2 where a sequence is complete.
fn compute(scheduler: &mut Scheduler, pool: &mut BlockGroups, plan: &scheduler::StepPlan) {
    for span in plan {
        let sequence = &mut scheduler.running[span.index];
        sequence.advance(span.count, pool);
        if sequence.remaining() == 0 {
            sequence.push(2, None);
        }
    }
    let all: Vec<_> = scheduler.running.iter().map(Sequence::blocks).collect();
    pool.check_invariants(&all).unwrap();
}

#[test]
fn layers_with_a_window_hold_no_more_than_it_and_a_step() {
    // Windows of 9 tokens: in blocks of 4 at most 4 of them, and a step of 8 in 2 more. Three sequences of
    // 48 tokens would be 36 blocks.
    let mut pool = BlockGroups::new([(60, None), (16, Some(9))], 4, true);
    let mut scheduler = Scheduler::default();
    let mut receivers = Vec::new();
    for token in 3..6 {
        let (mut sequence, receiver) = sequence(40);
        sequence.tokens.fill(token);
        scheduler.waiting.push_back(sequence);
        receivers.push(receiver);
    }
    for _ in 0..24 {
        let outcome = scheduler.schedule(&mut pool, &limits());
        assert_eq!(outcome.preempted, 0);
        compute(&mut scheduler, &mut pool, &outcome.plan);
        let held = scheduler.running.iter().map(|it| it.tables()[1].held().len());
        assert!(held.clone().all(|held| held <= 6), "{:?}", held.collect::<Vec<_>>());
    }
    assert!(scheduler.running.iter().all(|it| it.generated() > 2) && scheduler.running.len() == 3);
    while let Some(mut sequence) = scheduler.running.pop() {
        sequence.release(&mut pool);
    }
    assert_eq!(pool.count(BlockPool::used), (0, 0));
    pool.check_invariants(&[]).unwrap();
}

#[test]
fn when_the_windows_run_out_the_newest_is_put_back() {
    // For one window and its step, hardly more.
    let mut pool = BlockGroups::new([(60, None), (6, Some(9))], 4, true);
    let mut scheduler = Scheduler::default();
    let mut receivers = Vec::new();
    for token in 3..5 {
        let (mut sequence, receiver) = sequence(30);
        sequence.tokens.fill(token);
        scheduler.waiting.push_back(sequence);
        receivers.push(receiver);
    }
    for step in 0..24 {
        let outcome = scheduler.schedule(&mut pool, &limits());
        assert!(outcome.plan.iter().any(|span| span.index == 0), "step {step}: nobody moves");
        compute(&mut scheduler, &mut pool, &outcome.plan);
    }
    assert!(scheduler.running[0].generated() >= 20, "the oldest never lost a step");
    assert_eq!(scheduler.waiting.len() + scheduler.running.len(), 2);
}

#[test]
fn a_long_prompt_does_not_stop_running_answers() {
    let mut pool = plain(64);
    let mut scheduler = Scheduler::default();
    let mut receivers = Vec::new();
    for prompt_len in [3, 50] {
        let (sequence, receiver) = sequence(prompt_len);
        scheduler.waiting.push_back(sequence);
        receivers.push(receiver);
    }
    let mut drawn = Vec::new();
    for _ in 0..8 {
        let outcome = scheduler.schedule(&mut pool, &limits());
        let total: usize = outcome.plan.iter().map(|span| span.count).sum();
        assert!(total <= 8, "the budget holds: {:?}", outcome.plan);
        compute(&mut scheduler, &mut pool, &outcome.plan);
        drawn.push(scheduler.running[0].generated());
    }
    assert_eq!(drawn, [1, 2, 3, 4, 5, 6, 7, 8], "one token in every step");
    assert_eq!(scheduler.running[1].generated(), 1, "5 + 7 × 7 = 54 ≥ 50");
}

#[test]
fn when_blocks_run_out_the_newest_is_put_back() {
    let mut pool = plain(6);
    let mut scheduler = Scheduler::default();
    let mut receivers = Vec::new();
    for prompt_len in [7, 8] {
        let (sequence, receiver) = sequence(prompt_len);
        scheduler.waiting.push_back(sequence);
        receivers.push(receiver);
    }
    let wide = EngineLimits { prefill_chunk: 64, ..limits() };
    let mut preempted = 0;
    for _ in 0..10 {
        let outcome = scheduler.schedule(&mut pool, &wide);
        preempted += outcome.preempted;
        compute(&mut scheduler, &mut pool, &outcome.plan);
        assert!(scheduler.running[0].generated() > 0);
    }
    assert!(preempted > 0);
    // The oldest never lost a step; the newest waits in front or runs again.
    assert_eq!(scheduler.running[0].generated(), 10);
    assert_eq!(scheduler.waiting.len() + scheduler.running.len(), 2);
}

#[test]
fn the_same_prompt_at_once_is_computed_once() {
    let mut pool = plain(64);
    let mut scheduler = Scheduler::default();
    let mut receivers = Vec::new();
    for _ in 0..4 {
        let (sequence, receiver) = sequence(21);
        scheduler.waiting.push_back(sequence);
        receivers.push(receiver);
    }
    let mut computed = 0;
    for _ in 0..12 {
        let outcome = scheduler.schedule(&mut pool, &limits());
        let prompts = outcome.plan.iter().filter(|s| scheduler.running[s.index].generated() == 0);
        computed += prompts.map(|span| span.count).sum::<usize>();
        compute(&mut scheduler, &mut pool, &outcome.plan);
    }
    assert!(scheduler.running.iter().all(|s| s.generated() > 0) && scheduler.running.len() == 4);
    assert_eq!(computed, 21 + 3, "20 tokens are shared, the last is everybody's own");
}
