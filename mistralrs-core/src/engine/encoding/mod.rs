//! The encoders' engine: a thread that owns the model; whole texts go in through a bounded queue,
//! their vectors come out together. Knows token ids, never text.

mod worker;

#[cfg(test)]
mod tests;

use super::{EngineStats, FailureKind, StatsCells};
use crate::error::RequestError;
use crate::forward::EncoderInput;
use crate::sentence::TextModel;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
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

enum Command {
    Submit(Submission),
    Shutdown,
}

/// A running engine. Dropping it ends the thread.
#[derive(Debug)]
pub struct EncodingHandle {
    commands: Sender<Command>,
    stats: Arc<StatsCells>,
    max_queue: usize,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EncodingHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(model: Box<dyn TextModel>, limits: EncodingLimits) -> std::io::Result<Self> {
        let (commands, receiver) = channel();
        let stats = Arc::new(StatsCells::default());
        let worker = worker::Worker::new(model, limits, Arc::clone(&stats));
        let thread = std::thread::Builder::new()
            .name("encoder".into())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            commands,
            stats,
            max_queue: limits.max_queue,
            closed: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands in the texts of a request, none of them empty. Dropping the receiver cancels it.
    ///
    /// # Errors
    /// [`RequestError::Overloaded`] when the queue is full, [`RequestError::Shutdown`] at the end.
    pub fn submit(
        &self,
        texts: Vec<EncoderInput>,
    ) -> Result<oneshot::Receiver<EncodingResult>, RequestError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(RequestError::Shutdown);
        }
        if let Err(queued) = self.stats.enter_queue(self.max_queue) {
            return Err(RequestError::Overloaded { queued });
        }
        let (reply, receiver) = oneshot::channel();
        match self.commands.send(Command::Submit(Submission { texts, reply })) {
            Ok(()) => Ok(receiver),
            Err(_) => {
                self.stats.leave_queue();
                Err(RequestError::Shutdown)
            }
        }
    }

    /// Counters and gauges of this moment; those of a cache are 0.
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
            tracing::error!("the encoder's thread ended in a panic");
        }
    }
}

impl Drop for EncodingHandle {
    fn drop(&mut self) {
        self.shutdown();
    }
}
