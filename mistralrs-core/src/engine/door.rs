//! The way into a thread that works: a bounded queue of submissions, and the end. Both engines stand
//! behind one. Knows no model and no token.

use super::{EngineStats, StatsCells};
use crate::error::RequestError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the thread is told.
pub(super) enum Command<S> {
    /// Work.
    Submit(S),
    /// There will be no more.
    Shutdown,
}

/// The side that hands work in. Dropping it ends the thread.
pub(super) struct Door<S> {
    name: &'static str,
    commands: Sender<Command<S>>,
    stats: Arc<StatsCells>,
    max_queue: usize,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Send + 'static> Door<S> {
    /// Starts a thread of this name that does `work`.
    pub(super) fn open(
        name: &'static str,
        max_queue: usize,
        stats: Arc<StatsCells>,
        work: impl FnOnce(&Receiver<Command<S>>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, receiver) = channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            mistralrs_kernels::pin_caller();
            work(&receiver);
        })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { name, commands, stats, max_queue, closed: AtomicBool::new(false), thread })
    }
}

impl<S> Door<S> {
    /// Hands in work; `submission` is made only if there is room for it.
    pub(super) fn submit(&self, submission: impl FnOnce() -> S) -> Result<(), RequestError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(RequestError::Shutdown);
        }
        if let Err(queued) = self.stats.enter_queue(self.max_queue) {
            return Err(RequestError::Overloaded { queued });
        }
        self.commands.send(Command::Submit(submission())).map_err(|_| {
            self.stats.leave_queue();
            RequestError::Shutdown
        })
    }

    /// Counters and gauges of this moment.
    pub(super) fn stats(&self) -> EngineStats {
        self.stats.snapshot()
    }

    /// Tells the thread to end, then waits for it.
    pub(super) fn shutdown(&self) {
        self.closed.store(true, Ordering::Release);
        // The thread may be gone already; then there is nothing to tell it.
        let _ = self.commands.send(Command::Shutdown);
        // The option inside is valid whatever happened to another holder of the lock.
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the {} thread ended in a panic", self.name);
        }
    }
}

impl<S> fmt::Debug for Door<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S> Drop for Door<S> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
