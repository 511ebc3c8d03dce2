//! The engine thread: receive, step, receive. `step` is the table of contents; around it stands the
//! panic border. Idle means asleep on the queue: no clock, no spinning.

use super::commit::{self, Ending, Sampled};
use super::media::{EncodedCache, SequenceMedia};
use super::scheduler::{Outcome, Scheduler, StepPlan};
use super::sequence::Sequence;
use super::{Command, EngineLimits, FailureKind, StatsCells, batch};
use crate::error::EngineError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::kv_cache::block_groups::BlockGroups;
use crate::models::Model;
use candle_core::Tensor;
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};

pub(super) struct Worker {
    model: Box<dyn Model>,
    kv: KvCache,
    blocks: BlockGroups,
    limits: EngineLimits,
    scheduler: Scheduler,
    encoded: EncodedCache,
    stats: Arc<StatsCells>,
}

impl Worker {
    pub(super) fn new(
        model: Box<dyn Model>,
        kv: KvCache,
        blocks: BlockGroups,
        limits: EngineLimits,
        stats: Arc<StatsCells>,
    ) -> Self {
        let media_whole = model.media_encoder().is_some_and(|encoder| encoder.sees_both_ways());
        let scheduler = Scheduler { media_whole, ..Scheduler::default() };
        let encoded = EncodedCache::new(limits.media_cache_bytes);
        Self { model, kv, blocks, limits, scheduler, encoded, stats }
    }

    /// Runs until it is told to end or every handle is gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while self.receive(commands) {
            self.drop_finished();
            let outcome = self.scheduler.schedule(&mut self.blocks, &self.limits);
            self.count(&outcome);
            if !outcome.plan.is_empty() {
                self.guarded_step(&outcome.plan);
            } else if !self.scheduler.is_empty() {
                self.fail_stuck();
            }
            self.stats.publish(self.scheduler.running.len(), &self.blocks);
        }
        self.fail_all();
    }

    /// Takes in what has arrived; sleeps if there is nothing else to do. False = the end.
    fn receive(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            let command = match self.scheduler.is_empty() {
                true => commands.recv().map_err(|_| TryRecvError::Disconnected),
                false => commands.try_recv(),
            };
            match command {
                Ok(Command::Submit(submission)) => {
                    self.scheduler.waiting.push_back(Sequence::new(*submission, &self.limits));
                }
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Schedule has happened; prepare, forward, sample, commit.
    fn step(&mut self, plan: &StepPlan) -> Result<(), EngineError> {
        self.prepare_media(plan)?;
        let batch = batch::build(plan, &self.scheduler, self.kv.block_size())?;
        let logits = self.forward(&batch)?;
        let sampled = commit::sample(plan, &mut self.scheduler.running, &logits)?;
        self.commit(plan, sampled);
        Ok(())
    }

    /// Encodes the media that the planned tokens stand for, each once.
    fn prepare_media(&mut self, plan: &StepPlan) -> Result<(), EngineError> {
        let Self { model, scheduler, encoded, stats, .. } = self;
        for span in plan {
            let Some(sequence) = scheduler.running.get_mut(span.index) else { continue };
            if sequence.media.items().is_empty() {
                continue;
            }
            let Some(encoder) = model.media_encoder() else {
                return Err(EngineError::Bug("media for a model that takes none"));
            };
            let positions = sequence.computed()..sequence.computed() + span.count;
            let prompt_len = sequence.prompt_len();
            sequence.media.prepare(&positions, prompt_len, encoder, encoded)?;
        }
        stats.media_encoded.store(encoded.encoded, Relaxed);
        stats.media_found.store(encoded.found, Relaxed);
        Ok(())
    }

    /// The model's step; beside it, what the forms of answers allow next.
    fn forward(&mut self, batch: &ForwardBatch) -> candle_core::Result<Tensor> {
        let Self { model, kv, scheduler, .. } = self;
        let samplers = scheduler.running.iter_mut().map(|sequence| &mut sequence.request.sampler);
        let mut formed: Vec<_> = samplers.filter(|sampler| sampler.is_constrained()).collect();
        if formed.is_empty() {
            return model.forward(batch, kv);
        }
        let prepare = || formed.par_iter_mut().for_each(|sampler| sampler.prepare());
        rayon::join(move || model.forward(batch, kv), prepare).0
    }

    /// A block becomes findable only here, after the forward pass has returned: that is why a failed
    /// step leaves nothing wrong behind.
    fn commit(&mut self, plan: &StepPlan, sampled: Vec<Sampled>) {
        let mut finished = Vec::new();
        for (span, sampled) in plan.iter().zip(sampled) {
            let Some(sequence) = self.scheduler.running.get_mut(span.index) else { continue };
            let drawn = sequence.generated();
            sequence.advance(span.count, &mut self.blocks);
            if let Some(ending) = commit::apply(sequence, sampled) {
                finished.push((span.index, ending));
            }
            let drawn = sequence.generated() - drawn;
            self.stats.generated_tokens.fetch_add(drawn as u64, Relaxed);
        }
        for (index, ending) in finished.into_iter().rev() {
            let mut sequence = self.scheduler.running.remove(index);
            // Blocks and media first: whoever sees the answer's end must find their memory free.
            sequence.release(&mut self.blocks);
            sequence.media = SequenceMedia::default();
            self.stats.publish(self.scheduler.running.len(), &self.blocks);
            match ending {
                Ending::Finished(reason) => sequence.finish(reason),
                Ending::Failed(kind) => sequence.fail(kind),
            }
        }
    }

    /// The panic border: a step that fails takes its own sequences with it and nobody else.
    fn guarded_step(&mut self, plan: &StepPlan) {
        let result = catch_unwind(AssertUnwindSafe(|| self.step(plan)))
            .unwrap_or_else(|panic| Err(EngineError::Panic(panic_text(&*panic))));
        self.stats.steps.fetch_add(1, Relaxed);
        let Err(error) = result else { return };
        let id = self.stats.failure_id();
        tracing::error!(id, sequences = plan.len(), "step failed: {error}");
        for span in plan.iter().rev() {
            if span.index < self.scheduler.running.len() {
                let mut sequence = self.scheduler.running.remove(span.index);
                sequence.release(&mut self.blocks);
                sequence.fail(FailureKind::Internal(id));
            }
        }
    }

    /// Lets go of sequences whose caller has left or whose time is up.
    fn drop_finished(&mut self) {
        let Self { scheduler, blocks, stats, .. } = self;
        let mut keep = |sequence: &mut Sequence| {
            let late = sequence.is_late();
            if !late && !sequence.is_cancelled() {
                return true;
            }
            sequence.release(blocks);
            if !sequence.admitted {
                stats.leave_queue();
            }
            if late {
                sequence.fail(FailureKind::Timeout);
            }
            false
        };
        scheduler.running.retain_mut(&mut keep);
        scheduler.waiting.retain_mut(&mut keep);
    }

    /// Nothing can run although somebody waits. The load plan rules this out (one full context always
    /// fits), so it is a bug; the first in the queue pays for it rather than everybody for ever.
    fn fail_stuck(&mut self) {
        if let Some(sequence) = self.scheduler.waiting.pop_front() {
            let id = self.stats.failure_id();
            let tokens = sequence.tokens.len();
            tracing::error!(id, tokens, "a sequence cannot be given blocks even alone");
            if !sequence.admitted {
                self.stats.leave_queue();
            }
            sequence.fail(FailureKind::Internal(id));
        }
    }

    fn fail_all(&mut self) {
        for mut sequence in self.scheduler.running.drain(..) {
            sequence.release(&mut self.blocks);
            sequence.fail(FailureKind::Shutdown);
        }
        for sequence in self.scheduler.waiting.drain(..) {
            sequence.fail(FailureKind::Shutdown);
        }
    }

    fn count(&self, outcome: &Outcome) {
        for &(prompt, cached) in &outcome.admitted {
            self.stats.leave_queue();
            self.stats.prompt_tokens.fetch_add(prompt as u64, Relaxed);
            self.stats.cached_tokens.fetch_add(cached as u64, Relaxed);
        }
        self.stats.preemptions.fetch_add(outcome.preempted as u64, Relaxed);
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
