//! A plan and its sequences → the model's batch. Pure.

use super::scheduler::{PlannedSpan, Scheduler, StepPlan};
use super::sequence::Sequence;
use crate::error::EngineError;
use crate::forward::{ForwardBatch, SequenceSpan};

/// Packs the planned tokens, sequence after sequence.
///
/// # Errors
/// [`EngineError::Bug`] when plan and sequences contradict each other.
pub fn build(
    plan: &StepPlan,
    scheduler: &Scheduler,
    block_size: usize,
) -> Result<ForwardBatch, EngineError> {
    let mut batch = ForwardBatch::default();
    for span in plan {
        let Some(sequence) = scheduler.running.get(span.index) else {
            return Err(EngineError::Bug("the plan names a sequence that does not run"));
        };
        let start = sequence.computed();
        let end = start + span.count;
        let Some(tokens) = sequence.tokens.get(start..end) else {
            return Err(EngineError::Bug("the plan counts more tokens than there are"));
        };
        let first_row = batch.len();
        batch.token_ids.extend_from_slice(tokens);
        batch.positions.extend((start..end).map(|position| position as u32));
        batch.slot_mapping.resize_with(sequence.tables().len(), Vec::new);
        for (slots, table) in batch.slot_mapping.iter_mut().zip(sequence.tables()) {
            for position in start..end {
                let Some(&block) = table.blocks().get(position / block_size) else {
                    return Err(EngineError::Bug("a planned token has no block"));
                };
                slots.push(block as usize * block_size + position % block_size);
            }
        }
        let rows = first_row..batch.len();
        if sequence.scores_prompt() {
            batch.logit_rows.extend(rows.clone().map(|row| row as u32));
        } else if span.count == sequence.remaining() {
            batch.logit_rows.push(rows.end as u32 - 1);
        }
        if sequence.is_long() {
            batch.long_rows.push(rows.clone());
        }
        batch.spans.push(SequenceSpan {
            query: rows,
            context_len: end,
            block_tables: sequence.tables().iter().map(|t| t.blocks().to_vec()).collect(),
            together: match scheduler.media_whole {
                true => sequence.media.ranges_before(end),
                false => Vec::new(),
            },
        });
        batch.media.extend(sequence.media.spans(start..end, first_row)?);
    }
    batch.rope_positions = rope_positions(plan, &scheduler.running);
    Ok(batch)
}

/// Positions along three axes for all rows, if they are anything but three times the same for any.
fn rope_positions(plan: &StepPlan, sequences: &[Sequence]) -> Vec<[u32; 3]> {
    let planned = || plan.iter().filter_map(|span| Some((span, sequences.get(span.index)?)));
    if planned().all(|(_, sequence)| sequence.media.positions().is_none()) {
        return Vec::new();
    }
    let of_span = |(span, sequence): (&PlannedSpan, &Sequence)| {
        let start = sequence.computed();
        let positions = sequence.media.positions();
        let at = move |at: usize| positions.map_or([at as u32; 3], |positions| positions.at(at));
        (start..start + span.count).map(at).collect::<Vec<_>>()
    };
    planned().flat_map(of_span).collect()
}
