//! The engine's face: a thread that owns model, cache and sequences; requests go in through a
//! bounded queue, tokens come out of a channel each. Knows token ids, never text.

mod batch;
mod commit;
mod door;
pub mod encoding;
mod media;
mod scheduler;
mod sequence;
mod stats;
mod worker;

#[cfg(test)]
mod tests;

pub use stats::{EngineStats, StatsCells};

use crate::error::RequestError;
use crate::forward::MediaItem;
use crate::kv_cache::KvCache;
use crate::kv_cache::block_groups::BlockGroups;
use crate::models::Model;
use crate::request::FinishReason;
use crate::sampling::Sampler;
use door::Door;
use std::sync::Arc;
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
    /// Most bytes of what encoders made of media that are kept for later requests.
    pub media_cache_bytes: usize,
}

/// What the engine is asked for. Validated: after this nothing about it can be wrong.
pub struct GenerationRequest {
    /// The prompt; not empty.
    pub prompt: Vec<u32>,
    /// The media that some of its tokens stand for, in order of position.
    pub media: Vec<MediaItem>,
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
    /// The grammar of its form became too complex.
    Form,
    /// Its step failed; the log has the details under this id.
    Internal(u64),
}

pub(crate) struct Submission {
    request: GenerationRequest,
    events: UnboundedSender<TokenEvent>,
    submitted: Instant,
}

type Command = door::Command<Box<Submission>>;

/// A running engine. Dropping it ends the thread.
#[derive(Debug)]
pub struct EngineHandle(Door<Box<Submission>>);

impl EngineHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        model: Box<dyn Model>,
        kv: KvCache,
        blocks: BlockGroups,
        limits: EngineLimits,
    ) -> std::io::Result<Self> {
        let stats = Arc::new(StatsCells::new(&blocks));
        let worker = worker::Worker::new(model, kv, blocks, limits, Arc::clone(&stats));
        Door::open("engine", limits.max_queue, stats, move |commands| worker.run(commands))
            .map(Self)
    }

    /// Hands in a request. Dropping the receiver cancels it.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] when the queue is full, [`RequestError::Shutdown`] at the end.
    pub fn submit(
        &self,
        request: GenerationRequest,
    ) -> Result<UnboundedReceiver<TokenEvent>, RequestError> {
        let (events, receiver) = unbounded_channel();
        let submitted = || Box::new(Submission { request, events, submitted: Instant::now() });
        self.0.submit(submitted).map(|()| receiver)
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> EngineStats {
        self.0.stats()
    }

    /// Fails what is running, then waits for the thread to end.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }
}
