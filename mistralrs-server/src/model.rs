//! The one model of this server: being loaded, ready, or failed. Ready is read without a lock.

use crate::error::ApiError;
use crate::openai::response::unix_seconds;
use mistralrs_core::Llm;
use mistralrs_core::loading::progress::{ProgressEvent, Unit};
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use utoipa::ToSchema;

/// A model that answers.
pub struct LoadedModel {
    /// The engine.
    pub llm: Llm,
    /// What requests name it by.
    pub name: String,
    /// What it was loaded by: requests may name it so too.
    pub source: String,
    /// When it became ready, in seconds since 1970.
    pub created: u64,
    /// Program version and arithmetic.
    pub fingerprint: String,
}

impl LoadedModel {
    /// `source` = what it was loaded by; `name` = what it is to be called, if not by its own id.
    pub fn new(llm: Llm, source: String, name: Option<String>) -> Self {
        let name = name.unwrap_or_else(|| llm.info().id.clone());
        let arithmetic = mistralrs_core::instruction_set();
        let fingerprint = format!("mistralrs-{}-{arithmetic}", env!("CARGO_PKG_VERSION"));
        Self { llm, name, source, created: unix_seconds(), fingerprint }
    }

    /// Whether a request means this model.
    ///
    /// # Errors
    /// [`ApiError::model_not_found`].
    pub fn check_name(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            None | Some("default" | "") => Ok(()),
            Some(asked)
                if [&self.name, &self.source, &self.llm.info().id]
                    .into_iter()
                    .any(|name| name == asked) =>
            {
                Ok(())
            }
            Some(asked) => Err(ApiError::model_not_found(asked, &self.name)),
        }
    }
}

/// How far loading is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LoadProgress {
    /// `download model.safetensors`, `load weights`, …
    pub stage: String,
    /// Done so far.
    pub done: u64,
    /// In all; 0 = unknown.
    pub total: u64,
    /// What the numbers count: `items` or `bytes`.
    pub unit: &'static str,
}

/// The place of the model.
pub struct ModelSlot {
    ready: OnceLock<LoadedModel>,
    failed: OnceLock<()>,
    /// Only read when someone asks how far it is. Any value in it is valid, also after a panic.
    progress: Mutex<LoadProgress>,
}

impl Default for ModelSlot {
    fn default() -> Self {
        let progress =
            LoadProgress { stage: "starting".to_owned(), done: 0, total: 0, unit: "items" };
        Self { ready: OnceLock::new(), failed: OnceLock::new(), progress: Mutex::new(progress) }
    }
}

impl ModelSlot {
    fn lock(&self) -> MutexGuard<'_, LoadProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far loading is.
    pub fn report(&self, event: &ProgressEvent) {
        let unit = match event.unit {
            Unit::Items => "items",
            Unit::Bytes => "bytes",
        };
        *self.lock() =
            LoadProgress { stage: event.stage.clone(), done: event.done, total: event.total, unit };
    }

    /// How far loading is.
    pub fn progress(&self) -> LoadProgress {
        self.lock().clone()
    }

    /// The model answers from now on. A second model is not taken.
    pub fn set_ready(&self, model: LoadedModel) {
        let _ = self.ready.set(model);
    }

    /// There will be no model.
    pub fn set_failed(&self) {
        let _ = self.failed.set(());
    }

    /// Whether there will be no model.
    pub fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// The model, if it is ready.
    pub fn loaded(&self) -> Option<&LoadedModel> {
        self.ready.get()
    }

    /// The model.
    ///
    /// # Errors
    /// 503 with the stage of loading.
    pub fn get(&self) -> Result<&LoadedModel, ApiError> {
        match self.ready.get() {
            Some(model) => Ok(model),
            None if self.has_failed() => Err(ApiError::load_failed()),
            None => {
                let LoadProgress { stage, done, total, unit } = self.progress();
                let text =
                    if total > 0 { format!("{stage}, {done} of {total} {unit}") } else { stage };
                Err(ApiError::loading(&text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_ready_it_says_how_far_it_is() {
        let slot = ModelSlot::default();
        slot.report(&ProgressEvent {
            stage: "load weights".into(),
            done: 3,
            total: 7,
            unit: Unit::Items,
        });
        let error = slot.get().map(|_| ()).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (503, Some("model_loading")));
        assert!(error.message().contains("load weights, 3 of 7 items"));
        slot.set_failed();
        assert_eq!(slot.get().map(|_| ()).unwrap_err().code(), Some("model_load_failed"));
    }
}
