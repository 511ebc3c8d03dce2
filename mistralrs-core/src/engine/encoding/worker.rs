//! The encoders' thread: receive, compute a batch, receive. A batch takes one text of each request
//! in turn, so that a short request does not wait for all texts of a long one.

use super::super::worker::panic_text;
use super::{Command, EncodingLimits, EncodingResult, Submission};
use crate::engine::{FailureKind, StatsCells};
use crate::error::EngineError;
use crate::forward::{EncoderBatch, EncoderInput};
use crate::sentence::TextModel;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use tokio::sync::oneshot;

pub(super) struct Worker {
    model: Box<dyn TextModel>,
    limits: EncodingLimits,
    jobs: VecDeque<Job>,
    stats: Arc<StatsCells>,
}

/// A request, its results as far as they are there.
struct Job {
    texts: Vec<EncoderInput>,
    /// As many as have been computed, in order.
    results: Vec<Vec<f32>>,
    reply: oneshot::Sender<EncodingResult>,
    /// Whether any text was taken: before that it counts as waiting.
    started: bool,
}

/// What a batch consists of: for each of its texts the place of its job.
struct Plan {
    batch: EncoderBatch,
    jobs: Vec<usize>,
}

impl Worker {
    pub(super) fn new(
        model: Box<dyn TextModel>,
        limits: EncodingLimits,
        stats: Arc<StatsCells>,
    ) -> Self {
        Self { model, limits, jobs: VecDeque::new(), stats }
    }

    /// Runs until it is told to end or every handle is gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while self.receive(commands) {
            self.drop_cancelled();
            let plan = self.plan();
            if !plan.jobs.is_empty() {
                self.step(&plan);
            }
            self.finish();
        }
        for job in self.jobs.drain(..) {
            job.end(&self.stats, Err(FailureKind::Shutdown));
        }
    }

    /// Takes in what has arrived; sleeps if there is nothing else to do. False = the end.
    fn receive(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            let command = match self.jobs.is_empty() {
                true => commands.recv().map_err(|_| TryRecvError::Disconnected),
                false => commands.try_recv(),
            };
            match command {
                Ok(Command::Submit(Submission { texts, reply })) => {
                    self.jobs.push_back(Job { texts, results: Vec::new(), reply, started: false });
                }
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let stats = &self.stats;
        self.jobs.retain(|job| {
            let cancelled = job.reply.is_closed();
            if cancelled && !job.started {
                stats.leave_queue();
            }
            !cancelled
        });
    }

    /// One text of each job in turn, until the next one does not fit.
    fn plan(&self) -> Plan {
        let mut plan = Plan { batch: EncoderBatch::default(), jobs: Vec::new() };
        let mut round = 0;
        loop {
            let before = plan.jobs.len();
            for (place, job) in self.jobs.iter().enumerate() {
                let Some(text) = job.texts.get(job.results.len() + round) else { continue };
                let tokens = plan.batch.token_ids.len() + text.token_ids.len();
                if !plan.jobs.is_empty() && tokens > self.limits.batch_tokens {
                    return plan;
                }
                plan.batch.push(text);
                plan.jobs.push(place);
            }
            if plan.jobs.len() == before {
                return plan;
            }
            round += 1;
        }
    }

    /// The panic border: a batch that fails takes its own requests with it and nobody else.
    fn step(&mut self, plan: &Plan) {
        for &place in &plan.jobs {
            if let Some(job) = self.jobs.get_mut(place)
                && !std::mem::replace(&mut job.started, true)
            {
                self.stats.leave_queue();
            }
        }
        self.stats.publish_running(self.jobs.iter().filter(|job| job.started).count());
        let result = catch_unwind(AssertUnwindSafe(|| self.compute(&plan.batch)))
            .unwrap_or_else(|panic| Err(EngineError::Panic(panic_text(&*panic))));
        self.stats.steps.fetch_add(1, Relaxed);
        match result {
            Ok(vectors) => {
                self.stats.prompt_tokens.fetch_add(plan.batch.token_ids.len() as u64, Relaxed);
                for (vector, &place) in vectors.into_iter().zip(&plan.jobs) {
                    if let Some(job) = self.jobs.get_mut(place) {
                        job.results.push(vector);
                    }
                }
                // Who was first in this batch is last in the next.
                if !self.jobs.is_empty() {
                    self.jobs.rotate_left(1);
                }
            }
            Err(error) => self.fail(plan, &error),
        }
    }

    fn compute(&mut self, batch: &EncoderBatch) -> Result<Vec<Vec<f32>>, EngineError> {
        let vectors = self.model.compute(batch)?;
        match vectors.len() == batch.spans.len() {
            true => Ok(vectors),
            false => Err(EngineError::Bug("an encoder gave another number of vectors than texts")),
        }
    }

    fn fail(&mut self, plan: &Plan, error: &EngineError) {
        let id = self.stats.failure_id();
        tracing::error!(id, texts = plan.jobs.len(), "batch failed: {error}");
        let jobs = std::mem::take(&mut self.jobs);
        for (place, job) in jobs.into_iter().enumerate() {
            match plan.jobs.contains(&place) {
                true => job.end(&self.stats, Err(FailureKind::Internal(id))),
                false => self.jobs.push_back(job),
            }
        }
    }

    /// Answers the jobs whose last text has been computed.
    fn finish(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        let (done, open): (VecDeque<Job>, VecDeque<Job>) =
            jobs.into_iter().partition(|job| job.results.len() == job.texts.len());
        self.jobs = open;
        self.stats.publish_running(self.jobs.iter().filter(|job| job.started).count());
        for mut job in done {
            let results = std::mem::take(&mut job.results);
            job.end(&self.stats, Ok(results));
        }
    }
}

impl Job {
    fn end(self, stats: &StatsCells, result: EncodingResult) {
        if !self.started {
            stats.leave_queue();
        }
        // The caller may have left; then nobody wants it.
        let _ = self.reply.send(result);
    }
}
