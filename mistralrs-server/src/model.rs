//! The one model of this server, text model or encoder: being loaded, ready, or failed. Ready is
//! read without a lock.

use crate::error::ApiError;
use crate::openai::response::unix_seconds;
use mistralrs_core::loading::progress::{ProgressEvent, Unit};
use mistralrs_core::{Embedder, EmbedderKind, EngineStats, Llm};
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
        check_name(asked, &[&self.name, &self.source, &self.llm.info().id])
    }
}

/// An encoder that answers.
pub struct LoadedEmbedder {
    /// The encoder.
    pub embedder: Embedder,
    /// What it is called.
    pub card: ModelCard,
}

/// What a model is called.
pub struct ModelCard {
    /// What requests name it by.
    pub name: String,
    /// What it was loaded by: requests may name it so too.
    pub source: String,
    /// Its own id: so too.
    pub id: String,
    /// When it became ready, in seconds since 1970.
    pub created: u64,
}

impl LoadedEmbedder {
    /// As [`LoadedModel::new`].
    pub fn new(embedder: Embedder, source: String, name: Option<String>) -> Self {
        let id = embedder.info().model.id.clone();
        let name = name.unwrap_or_else(|| id.clone());
        Self { embedder, card: ModelCard { name, source, id, created: unix_seconds() } }
    }

    /// In a sentence about it.
    fn described(&self) -> (&'static str, &'static str) {
        match self.embedder.info().kind {
            EmbedderKind::Embedding => (
                "an embedding model: it gives vectors and no text",
                "ask /v1/embeddings or /v1/rerank, or load a text model",
            ),
            EmbedderKind::CrossEncoder => (
                "a cross-encoder: it ranks documents and gives no text",
                "ask /v1/rerank, or load a text model",
            ),
        }
    }
}

impl ModelCard {
    /// Whether a request means this model.
    ///
    /// # Errors
    /// [`ApiError::model_not_found`].
    pub fn check_name(&self, asked: Option<&str>) -> Result<(), ApiError> {
        check_name(asked, &[&self.name, &self.source, &self.id])
    }
}

/// The first of `names` is the one that is told.
fn check_name(asked: Option<&str>, names: &[&str]) -> Result<(), ApiError> {
    match asked {
        None | Some("default" | "") => Ok(()),
        Some(asked) if names.contains(&asked) => Ok(()),
        Some(asked) => {
            Err(ApiError::model_not_found(asked, names.first().copied().unwrap_or_default()))
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
    embedder: OnceLock<LoadedEmbedder>,
    failed: OnceLock<()>,
    /// Only read when someone asks how far it is. Any value in it is valid, also after a panic.
    progress: Mutex<LoadProgress>,
}

impl Default for ModelSlot {
    fn default() -> Self {
        let progress =
            LoadProgress { stage: "starting".to_owned(), done: 0, total: 0, unit: "items" };
        Self {
            ready: OnceLock::new(),
            embedder: OnceLock::new(),
            failed: OnceLock::new(),
            progress: Mutex::new(progress),
        }
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

    /// The encoder answers from now on.
    pub fn set_embedder(&self, model: LoadedEmbedder) {
        let _ = self.embedder.set(model);
    }

    /// There will be no model.
    pub fn set_failed(&self) {
        let _ = self.failed.set(());
    }

    /// Whether there will be no model.
    pub fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// Whether a model of either kind answers.
    pub fn is_ready(&self) -> bool {
        self.name().is_some()
    }

    /// What the model that answers is called.
    pub fn name(&self) -> Option<&str> {
        let embedder = || self.embedder.get().map(|model| model.card.name.as_str());
        self.ready.get().map(|model| model.name.as_str()).or_else(embedder)
    }

    /// Counters of the model that answers.
    pub fn stats(&self) -> Option<EngineStats> {
        let embedder = || self.embedder.get().map(|model| model.embedder.stats());
        self.ready.get().map(|model| model.llm.stats()).or_else(embedder)
    }

    /// The encoder, if it is one and ready.
    pub fn loaded_embedder(&self) -> Option<&LoadedEmbedder> {
        self.embedder.get()
    }

    /// The encoder.
    ///
    /// # Errors
    /// 503 with the stage of loading, 400 if the model is a text model.
    pub fn embedder(&self) -> Result<&LoadedEmbedder, ApiError> {
        match (self.embedder.get(), self.ready.get()) {
            (Some(model), _) => Ok(model),
            (None, Some(text)) => Err(ApiError::wrong_kind(
                &text.name,
                "a text model: it gives no vectors",
                "start the server with an embedding model or a cross-encoder",
            )),
            (None, None) => Err(self.not_ready()),
        }
    }

    /// The model, if it is a text model and ready.
    pub fn loaded(&self) -> Option<&LoadedModel> {
        self.ready.get()
    }

    /// The text model.
    ///
    /// # Errors
    /// 503 with the stage of loading, 400 if the model is an encoder.
    pub fn get(&self) -> Result<&LoadedModel, ApiError> {
        match (self.ready.get(), self.embedder.get()) {
            (Some(model), _) => Ok(model),
            (None, Some(model)) => {
                let (is, remedy) = model.described();
                Err(ApiError::wrong_kind(&model.card.name, is, remedy))
            }
            (None, None) => Err(self.not_ready()),
        }
    }

    fn not_ready(&self) -> ApiError {
        if self.has_failed() {
            return ApiError::load_failed();
        }
        let LoadProgress { stage, done, total, unit } = self.progress();
        let text = if total > 0 { format!("{stage}, {done} of {total} {unit}") } else { stage };
        ApiError::loading(&text)
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
