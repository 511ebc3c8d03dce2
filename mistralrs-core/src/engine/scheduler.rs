//! The policy: who computes how many tokens in the next step. Decodes first, so that running answers
//! keep flowing; then prompts in order of arrival, by chunks, within a budget. When blocks run out
//! the newest running sequence is put back to the front of the queue, to be computed again. Who
//! shares a prefix with a prompt that is just being computed waits for it rather than compute it too.

use super::EngineLimits;
use super::sequence::Sequence;
use crate::kv_cache::block_pool::BlockPool;
use std::collections::VecDeque;

/// Rows of logits are wide: a prompt whose every row is scored goes in smaller chunks.
const SCORED_CHUNK: usize = 64;

/// One sequence's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedSpan {
    /// Index into the running sequences.
    pub index: usize,
    /// Tokens to compute.
    pub count: usize,
}

/// A step's work, as a value.
pub type StepPlan = Vec<PlannedSpan>;

/// All living sequences.
#[derive(Default)]
pub struct Scheduler {
    /// In order of arrival; the preempted ones in front.
    pub waiting: VecDeque<Sequence>,
    /// In order of admission.
    pub running: Vec<Sequence>,
    /// Tokens of one medium see each other both ways, so none is cut.
    pub media_whole: bool,
}

/// What a call of [`Scheduler::schedule`] did besides planning.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The step's work.
    pub plan: StepPlan,
    /// Sequences that started for the first time: tokens of the prompt, and of these the cached ones.
    pub admitted: Vec<(usize, usize)>,
    /// Sequences that were put back.
    pub preempted: usize,
}

impl Scheduler {
    /// Plans the next step.
    pub fn schedule(&mut self, pool: &mut BlockPool, limits: &EngineLimits) -> Outcome {
        let preempted = self.cover_running(pool);
        let mut budget = limits.prefill_chunk.max(1);
        let mut plan: StepPlan = Vec::new();
        for (index, sequence) in self.running.iter().enumerate() {
            if sequence.remaining() == 1 {
                plan.push(PlannedSpan { index, count: 1 });
                budget = budget.saturating_sub(1);
            }
        }
        // Even a full house of decodes leaves room for a prompt to move on.
        budget = budget.max(1);
        for (index, sequence) in self.running.iter().enumerate() {
            if sequence.remaining() > 1 {
                self.plan_prefill(&mut plan, &mut budget, (index, sequence));
            }
        }
        let mut admitted = Vec::new();
        let mut next = 0;
        // After a preemption nobody new comes in: it would only take the blocks just freed.
        while preempted == 0 && budget > 0 && self.running.len() < limits.max_seqs.max(1) {
            let Some(candidate) = self.waiting.get(next) else { break };
            if pool.is_sharing()
                && self.running.iter().any(|r| r.is_computing_prefix_of(candidate, pool))
            {
                next += 1;
                continue;
            }
            let Some(mut sequence) = self.waiting.remove(next) else { break };
            let first_time = !sequence.admitted;
            // A block to spare for each running sequence, or the newcomer is thrown out at once.
            if !sequence.admit(pool) || pool.free() < self.running.len() {
                sequence.release(pool);
                self.waiting.insert(next, sequence);
                break;
            }
            if first_time {
                admitted.push(sequence.start());
            }
            self.plan_prefill(&mut plan, &mut budget, (self.running.len(), &sequence));
            self.running.push(sequence);
        }
        plan.sort_unstable_by_key(|span| span.index);
        Outcome { plan, admitted, preempted }
    }

    /// Gives every running sequence blocks for its next tokens, oldest first, at the expense of the
    /// newest. Returns how many were put back.
    fn cover_running(&mut self, pool: &mut BlockPool) -> usize {
        let (mut index, mut preempted) = (0, 0);
        while let Some(sequence) = self.running.get_mut(index) {
            if sequence.has_outgrown_its_blocks() {
                sequence.release(pool);
                if !sequence.admit(pool) {
                    self.waiting.push_front(self.running.remove(index));
                    preempted += 1;
                    continue;
                }
            }
            if sequence.cover(pool) {
                index += 1;
            } else if let Some(mut victim) = self.running.pop() {
                // Possibly the sequence itself: then the loop ends.
                victim.release(pool);
                self.waiting.push_front(victim);
                preempted += 1;
            }
        }
        preempted
    }

    /// Plans the next tokens of a prompt.
    fn plan_prefill(
        &self,
        plan: &mut StepPlan,
        budget: &mut usize,
        (index, sequence): (usize, &Sequence),
    ) {
        let limit = if sequence.scores_prompt() { SCORED_CHUNK } else { usize::MAX };
        let mut count = sequence.remaining().min(*budget).min(limit);
        if self.media_whole && count > 0 {
            count = sequence.media.whole_chunk(sequence.computed(), count);
        }
        if count > 0 {
            *budget = budget.saturating_sub(count);
            plan.push(PlannedSpan { index, count });
        }
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}
