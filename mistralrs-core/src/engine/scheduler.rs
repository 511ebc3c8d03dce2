//! The policy: who computes how many tokens in the next step. Decodes first, so that running answers
//! keep flowing; then prompts in order of arrival, by chunks, within a budget. When blocks run out
//! the newest running sequence is put back to the front of the queue, to be computed again. Who
//! shares a prefix with a prompt that is just being computed waits for it rather than compute it too.

use super::EngineLimits;
use super::sequence::Sequence;
use crate::kv_cache::block_groups::BlockGroups;
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
    pub fn schedule(&mut self, blocks: &mut BlockGroups, limits: &EngineLimits) -> Outcome {
        let mut preempted = self.restart_outgrown(blocks);
        let mut budget = limits.prefill_chunk.max(1);
        let mut plan = self.plan_running(&mut budget);
        preempted += self.cover(&mut plan, blocks);
        let mut admitted = Vec::new();
        // After a preemption nobody new comes in: it would only take the blocks just freed.
        if preempted == 0 {
            admitted = self.admit(&mut plan, budget, blocks, limits);
        }
        Outcome { plan, admitted, preempted }
    }

    /// The next tokens of those that run, in their order.
    fn plan_running(&self, budget: &mut usize) -> StepPlan {
        let mut plan: StepPlan = Vec::new();
        for (index, sequence) in self.running.iter().enumerate() {
            if sequence.remaining() == 1 {
                plan.push(PlannedSpan { index, count: 1 });
                *budget = budget.saturating_sub(1);
            }
        }
        // Even a full house of decodes leaves room for a prompt to move on.
        *budget = (*budget).max(1);
        for (index, sequence) in self.running.iter().enumerate() {
            let count = self.chunk(sequence, *budget);
            if sequence.remaining() > 1 && count > 0 {
                plan.push(PlannedSpan { index, count });
                *budget = budget.saturating_sub(count);
            }
        }
        plan.sort_unstable_by_key(|span| span.index);
        plan
    }

    /// Lets in who waits, in order, while there are tokens to spend and blocks.
    fn admit(
        &mut self,
        plan: &mut StepPlan,
        mut budget: usize,
        blocks: &mut BlockGroups,
        limits: &EngineLimits,
    ) -> Vec<(usize, usize)> {
        let (mut admitted, mut next) = (Vec::new(), 0);
        while budget > 0 && self.running.len() < limits.max_seqs.max(1) {
            let Some(candidate) = self.waiting.get(next) else { break };
            let block_size = blocks.block_size();
            let mut running = self.running.iter();
            if blocks.is_sharing()
                && running.any(|it| it.is_computing_prefix_of(candidate, block_size))
            {
                next += 1;
                continue;
            }
            let Some(mut sequence) = self.waiting.remove(next) else { break };
            let count = if sequence.admit(blocks) { self.chunk(&sequence, budget) } else { 0 };
            // A block to spare for each running sequence, or the newcomer is thrown out at once.
            if count == 0 || !sequence.cover(count, blocks) || !blocks.have_free(self.running.len())
            {
                sequence.release(blocks);
                self.waiting.insert(next, sequence);
                break;
            }
            if !sequence.admitted {
                admitted.push(sequence.start());
            }
            budget = budget.saturating_sub(count);
            plan.push(PlannedSpan { index: self.running.len(), count });
            self.running.push(sequence);
        }
        admitted
    }

    /// Has those begin anew whose keys must be rotated otherwise from now on; returns how many were put
    /// back because there was no room for that.
    fn restart_outgrown(&mut self, blocks: &mut BlockGroups) -> usize {
        let (mut index, mut preempted) = (0, 0);
        while let Some(sequence) = self.running.get_mut(index) {
            if sequence.has_outgrown_its_blocks() {
                sequence.release(blocks);
                if !sequence.admit(blocks) {
                    self.waiting.push_front(self.running.remove(index));
                    preempted += 1;
                    continue;
                }
            }
            index += 1;
        }
        preempted
    }

    /// Gives every planned sequence blocks for its next tokens, oldest first, at the expense of the
    /// newest. Returns how many were put back.
    fn cover(&mut self, plan: &mut StepPlan, blocks: &mut BlockGroups) -> usize {
        let (mut next, mut preempted) = (0, 0);
        while let Some(&PlannedSpan { index, count }) = plan.get(next) {
            let Some(sequence) = self.running.get_mut(index) else { break };
            if sequence.cover(count, blocks) {
                next += 1;
            } else if let Some(mut victim) = self.running.pop() {
                // Possibly the sequence itself: then the loop ends.
                victim.release(blocks);
                self.waiting.push_front(victim);
                plan.retain(|span| span.index < self.running.len());
                preempted += 1;
            }
        }
        preempted
    }

    /// How many tokens of a prompt come next, within a budget.
    fn chunk(&self, sequence: &Sequence, budget: usize) -> usize {
        let limit = if sequence.scores_prompt() { SCORED_CHUNK } else { usize::MAX };
        let count = sequence.remaining().min(budget).min(limit);
        match self.media_whole && count > 0 {
            true => sequence.media.whole_chunk(sequence.computed(), count),
            false => count,
        }
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}
