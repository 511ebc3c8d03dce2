//! The engine's face: a thread that owns model, cache and sequences; requests go in through a
//! bounded queue, tokens come out of a channel each. Knows token ids, never text.

mod batch;
mod commit;
pub mod encoding;
mod scheduler;
mod sequence;
mod stats;
mod worker;

#[cfg(test)]
mod tests;

pub use stats::{EngineStats, StatsCells};

use crate::error::RequestError;
use crate::kv_cache::KvCache;
use crate::kv_cache::block_pool::BlockPool;
use crate::models::Model;
use crate::request::FinishReason;
use crate::sampling::Sampler;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How much the engine does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Most sequences computed together.
    pub max_seqs: usize,
    /// Most requests waiting.
    pub max_queue: usize,
    /// Most prompt tokens computed in one step.
    pub prefill_chunk: usize,
    /// Sequences that grow beyond this many tokens are computed anew, their keys rotated otherwise:
    /// see [`crate::models::ModelShape::short_context`].
    pub short_context: Option<usize>,
}

/// What the engine is asked for. Validated: after this nothing about it can be wrong.
pub struct GenerationRequest {
    /// The prompt; not empty.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; prompt and these fit into the context.
    pub max_tokens: usize,
    /// No stop token before this many tokens.
    pub min_tokens: usize,
    /// Drawing one of these ends the sequence.
    pub stop_token_ids: Vec<u32>,
    /// Chooses the tokens; owns the random numbers.
    pub sampler: Sampler,
    /// Log-probabilities of generated tokens, and of this many best ones.
    pub logprobs: Option<usize>,
    /// The same of the prompt's tokens.
    pub prompt_logprobs: Option<usize>,
    /// From submission to the end.
    pub timeout: Option<Duration>,
}

/// Natural-log probabilities of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct PositionLogprobs {
    /// The token that stands there and its ln p.
    pub chosen: (u32, f32),
    /// The best ones, best first.
    pub top: Vec<(u32, f32)>,
}

/// How long a sequence took, by the engine's clock: whoever reads the events may be late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// From submission to the first step.
    pub queue: Duration,
    /// From submission to the first token.
    pub first_token: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// What the engine says about a sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenEvent {
    /// The prompt is computed. Sent once, first.
    Prompt {
        /// Tokens found in the prefix cache.
        cached_tokens: usize,
        /// One per prompt token if asked for; none for the first.
        logprobs: Vec<Option<PositionLogprobs>>,
    },
    /// A token was drawn.
    Token {
        /// Which.
        token_id: u32,
        /// If asked for.
        logprobs: Option<PositionLogprobs>,
    },
    /// The end. A stop token is counted, not sent.
    Finished {
        /// Why.
        reason: FinishReason,
        /// All tokens drawn.
        generated_tokens: usize,
        /// When they were.
        timings: Timings,
    },
    /// The end, without success.
    Failed(FailureKind),
}

/// Why a sequence failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Its deadline passed.
    Timeout,
    /// The engine ends.
    Shutdown,
    /// Its step failed; the log has the details under this id.
    Internal(u64),
}

pub(crate) struct Submission {
    request: GenerationRequest,
    events: UnboundedSender<TokenEvent>,
    submitted: Instant,
}

enum Command {
    Submit(Box<Submission>),
    Shutdown,
}

/// A running engine. Dropping it ends the thread.
#[derive(Debug)]
pub struct EngineHandle {
    commands: Sender<Command>,
    stats: Arc<StatsCells>,
    max_queue: usize,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EngineHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        model: Box<dyn Model>,
        kv: KvCache,
        pool: BlockPool,
        limits: EngineLimits,
    ) -> std::io::Result<Self> {
        let (commands, receiver): (Sender<Command>, Receiver<Command>) = channel();
        let stats = Arc::new(StatsCells::new(&pool));
        let worker = worker::Worker::new(model, kv, pool, limits, Arc::clone(&stats));
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            commands,
            stats,
            max_queue: limits.max_queue,
            closed: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands in a request. Dropping the receiver cancels it.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] when the queue is full, [`RequestError::Shutdown`] at the end.
    pub fn submit(
        &self,
        request: GenerationRequest,
    ) -> Result<UnboundedReceiver<TokenEvent>, RequestError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(RequestError::Shutdown);
        }
        if let Err(queued) = self.stats.enter_queue(self.max_queue) {
            return Err(RequestError::Overloaded { queued });
        }
        let (events, receiver) = unbounded_channel();
        let submission = Submission { request, events, submitted: Instant::now() };
        match self.commands.send(Command::Submit(Box::new(submission))) {
            Ok(()) => Ok(receiver),
            Err(_) => {
                self.stats.leave_queue();
                Err(RequestError::Shutdown)
            }
        }
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> EngineStats {
        self.stats.snapshot()
    }

    /// Fails what is running, then waits for the thread to end.
    pub fn shutdown(&self) {
        self.closed.store(true, Ordering::Release);
        // The thread may be gone already; then there is nothing to tell it.
        let _ = self.commands.send(Command::Shutdown);
        // The option inside is valid whatever happened to another holder of the lock.
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the engine thread ended in a panic");
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.shutdown();
    }
}
