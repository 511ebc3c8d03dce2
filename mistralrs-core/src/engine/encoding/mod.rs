//! The encoders' engine: a thread that owns the model; whole texts go in through a bounded queue,
//! their vectors come out together. Knows token ids, never text.

mod worker;

#[cfg(test)]
mod tests;

use super::door::{self, Door};
use super::{EngineStats, FailureKind, StatsCells};
use crate::error::RequestError;
use crate::forward::EncoderInput;
use crate::sentence::TextModel;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodingLimits {
    /// Most requests waiting.
    pub max_queue: usize,
    /// Most tokens computed together; a longer text is computed alone.
    pub batch_tokens: usize,
}

/// The numbers of all texts of a request, in its order.
pub type EncodingResult = Result<Vec<Vec<f32>>, FailureKind>;

/// One request on its way to the thread.
pub(crate) struct Submission {
    texts: Vec<EncoderInput>,
    reply: oneshot::Sender<EncodingResult>,
}

type Command = door::Command<Submission>;

/// A running engine. Dropping it ends the thread.
#[derive(Debug)]
pub struct EncodingHandle(Door<Submission>);

impl EncodingHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(model: Box<dyn TextModel>, limits: EncodingLimits) -> std::io::Result<Self> {
        let stats = Arc::new(StatsCells::default());
        let worker = worker::Worker::new(model, limits, Arc::clone(&stats));
        Door::open("encoder", limits.max_queue, stats, move |commands| worker.run(commands))
            .map(Self)
    }

    /// Hands in the texts of a request, none of them empty. Dropping the receiver cancels it.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] when the queue is full, [`RequestError::Shutdown`] at the end.
    pub fn submit(
        &self,
        texts: Vec<EncoderInput>,
    ) -> Result<oneshot::Receiver<EncodingResult>, RequestError> {
        let (reply, receiver) = oneshot::channel();
        self.0.submit(|| Submission { texts, reply }).map(|()| receiver)
    }

    /// Counters and gauges of this moment; those of a cache are 0.
    pub fn stats(&self) -> EngineStats {
        self.0.stats()
    }

    /// Fails what is running, then waits for the thread to end.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }
}
