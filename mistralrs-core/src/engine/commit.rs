//! Logits → tokens → sequences: what happens after the forward pass. Rows are sampled in parallel;
//! each sequence has its own sampler, so nobody's result depends on the company.

use super::scheduler::StepPlan;
use super::sequence::Sequence;
use super::{FailureKind, PositionLogprobs};
use crate::error::EngineError;
use crate::request::FinishReason;
use crate::sampling::{self, Standing};
use crate::slices::with_f32;
use candle_core::{DType, Tensor};
use mistralrs_kernels::in_parallel_parts;

/// What a step found out about one sequence.
pub struct Sampled {
    /// Scores of prompt rows, in order, if they were wanted.
    prompt_logprobs: Vec<PositionLogprobs>,
    /// The next token, if the sequence is computed to its end.
    next: Option<(u32, Option<PositionLogprobs>)>,
    /// Tokens that the answer's form puts after it, without a step of the model.
    forced: Vec<u32>,
}

/// How a sequence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With success.
    Finished(FinishReason),
    /// Without.
    Failed(FailureKind),
}

/// Draws the next token of every sequence that is computed to its end by this step. `logits` `[rows, vocab]`
/// are overwritten: with many sequences, a copy of them takes a tenth of a step.
///
/// # Errors
/// When the logits do not have the promised shape.
pub fn sample(
    plan: &StepPlan,
    running: &mut [Sequence],
    logits: &Tensor,
) -> Result<Vec<Sampled>, EngineError> {
    let vocab = logits.dim(1)?.max(1);
    let logits = logits.to_dtype(DType::F32)?.contiguous()?;
    with_f32(&logits, "sampling", |numbers| draw(plan, running, numbers, vocab))?
}

/// `numbers` is `[rows, vocab]`.
fn draw(
    plan: &StepPlan,
    running: &mut [Sequence],
    numbers: &mut [f32],
    vocab: usize,
) -> Result<Vec<Sampled>, EngineError> {
    let mut rest = numbers;
    let mut jobs = Vec::with_capacity(plan.len());
    let mut sequences = running.iter_mut().enumerate();
    for span in plan {
        // Plan and sequences are both in ascending order of index.
        let Some((_, sequence)) = sequences.find(|(index, _)| *index == span.index) else {
            return Err(EngineError::Bug("the plan is out of order"));
        };
        let completes = span.count == sequence.remaining();
        let rows = if sequence.scores_prompt() { span.count } else { usize::from(completes) };
        let Some((mine, others)) = rest.split_at_mut_checked(rows * vocab) else {
            return Err(EngineError::Bug("fewer rows of logits than asked for"));
        };
        rest = others;
        jobs.push((sequence, completes, mine, None));
    }
    in_parallel_parts(&mut jobs, 1, |_, jobs| {
        for (sequence, completes, rows, sampled) in jobs {
            *sampled = Some(one(sequence, *completes, rows, vocab));
        }
    });
    Ok(jobs.into_iter().filter_map(|(.., sampled)| sampled).collect())
}

/// Scores the prompt rows and draws from the last one. `rows` is `[rows, vocab]`.
fn one(sequence: &mut Sequence, completes: bool, rows: &mut [f32], vocab: usize) -> Sampled {
    let mut prompt_logprobs = Vec::new();
    if let (true, Some(top)) = (sequence.scores_prompt(), sequence.request.prompt_logprobs) {
        // Row i scores the token after it; the last row of the prompt has none.
        let next_tokens = sequence.tokens.get(sequence.computed() + 1..).unwrap_or_default();
        let scored = rows.chunks_exact(vocab).zip(next_tokens);
        prompt_logprobs = scored.map(|(row, &token)| position(row, token, top)).collect();
    }
    let last = rows.chunks_exact_mut(vocab).next_back();
    let wanted = completes && sequence.request.max_tokens > 0;
    let next = last.filter(|_| wanted).map(|row| {
        let original = sequence.request.logprobs.map(|top| (row.to_vec(), top));
        let suppressed = sequence.suppressed().to_vec();
        let token = sequence.request.sampler.sample(row, &sequence.tokens, &suppressed);
        (token, original.map(|(row, top)| position(&row, token, top)))
    });
    // Where log-probabilities are wanted, every token needs its logits.
    let may_force = next.is_some() && sequence.request.logprobs.is_none();
    let forced = if may_force { sequence.request.sampler.forced() } else { Vec::new() };
    Sampled { prompt_logprobs, next, forced }
}

fn position(row: &[f32], token: u32, top: usize) -> PositionLogprobs {
    let (logprob, top) = sampling::logprobs(row, token, top);
    PositionLogprobs { chosen: (token, logprob), top }
}

/// Writes a step's results into one sequence; says whether it ended.
/// The caller has already advanced it by the planned tokens.
pub fn apply(sequence: &mut Sequence, sampled: Sampled) -> Option<Ending> {
    if sequence.scores_prompt() {
        sequence.keep_prompt_logprobs(sampled.prompt_logprobs.into_iter());
    }
    if sequence.remaining() > 0 {
        return None;
    }
    sequence.announce_prompt();
    let Some((token, logprobs)) = sampled.next else {
        return Some(Ending::Finished(FinishReason::Length));
    };
    let mut forced = sampled.forced.into_iter();
    let mut reason = sequence.push(token, logprobs);
    while reason.is_none()
        && let Some(token) = forced.next()
    {
        reason = sequence.push(token, None);
    }
    match sequence.request.sampler.standing() {
        Standing::Broken => Some(Ending::Failed(FailureKind::Form)),
        // Complete counts as such even if there was no room for more.
        Standing::Complete if forced.len() == 0 => Some(Ending::Finished(FinishReason::Stop)),
        Standing::Complete | Standing::Open => reason.map(Ending::Finished),
    }
}
