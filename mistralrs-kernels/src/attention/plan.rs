//! How the work of a call is cut into tasks: by rows and key heads and, where these are too few for the
//! threads, by stretches of positions.

use super::sums::Sums;
use super::tile::widest;
use super::{Job, SPLIT};
use crate::pool;
use std::ops::Range;

/// Query rows (of all heads that share a key head) that one task takes at least: so many that a tile's keys are
/// worth transposing. More if all threads have tasks enough.
const TASK_ROWS: usize = 64;
/// Numbers of a task's queries at most: with as many values they stay in the second-level cache.
const TASK_NUMBERS: usize = 64 << 10;
/// Tasks per thread that are enough.
const TASKS: usize = 8;
/// Below so many tasks per thread, long ones are cut by positions: one that a neighbor on the machine holds up
/// would have the others wait.
const FEW: usize = 4;

/// A part of the work: some query rows of one span, with the heads that share one key head.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(super) span: usize,
    pub(super) kv_head: usize,
    pub(super) rows: Range<usize>,
    /// The positions that the rows see, in stretches of [`SPLIT`].
    pub(super) stretches: Range<usize>,
    pub(super) step: Step,
}

/// What is done with the rows of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Everything.
    Whole,
    /// The sums of each stretch are left in the job's memory from this number on.
    Add(usize),
    /// Sums that others have left from this number on are joined.
    Join(usize),
}

/// All tasks of a job.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Each with its number of multiplications.
    pub(super) tasks: Vec<(usize, Task)>,
    /// To be done after those.
    pub(super) joins: Vec<Task>,
    /// Numbers that sums of stretches take.
    pub(super) memory: usize,
}

pub(super) fn plan(job: &Job<'_>) -> Plan {
    let tasks = by_rows(job);
    let few = FEW * pool::threads();
    if pool::threads() == 1 || tasks.is_empty() || tasks.len() >= few {
        return Plan { tasks, ..Plan::default() };
    }
    let pieces = few.div_ceil(tasks.len());
    let mut plan = Plan::default();
    for (cost, task) in tasks {
        let (all, rows) = (task.stretches.clone(), task.rows.len() * job.group);
        if all.len() == 1 || rows > TASK_ROWS {
            plan.tasks.push((cost, task));
            continue;
        }
        let size = Sums::size(rows, widest(job.shape.head_dim));
        let per_piece = all.len().div_ceil(pieces);
        for start in all.clone().step_by(per_piece) {
            let stretches = start..all.end.min(start + per_piece);
            let step = Step::Add(plan.memory + (start - all.start) * size);
            let cost = cost / all.len() * stretches.len();
            plan.tasks.push((cost, Task { stretches, step, ..task.clone() }));
        }
        plan.joins.push(Task { step: Step::Join(plan.memory), ..task });
        plan.memory += all.len() * size;
    }
    plan
}

fn by_rows(job: &Job<'_>) -> Vec<(usize, Task)> {
    let queries: usize = job.spans.iter().map(|span| span.query_len).sum();
    let rows = queries * job.shape.heads / (TASKS * pool::threads());
    let most = TASK_ROWS.max(TASK_NUMBERS / job.shape.head_dim);
    let per_task = (rows.clamp(TASK_ROWS, most) / job.group).max(1);
    let mut tasks = Vec::new();
    for (index, span) in job.spans.iter().enumerate() {
        for first in (0..span.query_len).step_by(per_task) {
            let rows = first..span.query_len.min(first + per_task);
            let positions: usize = rows.clone().map(|row| job.visible(span, row).len()).sum();
            let cost = positions.saturating_mul(2 * job.group * job.shape.head_dim);
            let all = job.visible(span, first).start..job.visible(span, rows.end - 1).end;
            let stretches = all.start / SPLIT..all.end.div_ceil(SPLIT).max(all.start / SPLIT + 1);
            for kv_head in 0..job.shape.kv_heads {
                let (rows, stretches) = (rows.clone(), stretches.clone());
                let task = Task { span: index, kv_head, rows, stretches, step: Step::Whole };
                tasks.push((cost, task));
            }
        }
    }
    tasks
}
