//! One endpoint each: extract → engine → respond.

pub mod chat;
pub mod completions;
pub mod health;
pub mod models;
pub mod tokenize;

use crate::app::AppState;
use crate::error::ApiError;
use crate::metrics::Meter;
use crate::openai::generate::Generate;
use crate::stream::{self, Choices, Dialect, Notes};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use mistralrs_core::{GenerateOptions, Generation, RequestError};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

/// Runs work that computes (template, tokenizer) away from the threads that serve.
/// If the client leaves meanwhile, the result is dropped when it comes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(error) => {
            tracing::error!("preparing a request panicked: {error}");
            Err(ApiError::internal())
        }
    }
}

/// Fields nobody knew, and what else has no effect. With `--strict` they are an error.
fn check_warnings(
    app: &AppState,
    unknown: &BTreeSet<String>,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    warnings.extend(unknown.iter().map(|path| format!("the unknown field `{path}` was ignored")));
    if app.config.strict && !warnings.is_empty() { Err(ApiError::strict(warnings)) } else { Ok(()) }
}

/// Options of the `i`-th answer to a prompt: with a seed, every answer has its own; without, the engine sees to it.
fn nth_options(options: &GenerateOptions, i: usize) -> GenerateOptions {
    let mut options = options.clone();
    options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(i as u64));
    options
}

/// The answers of a request, with what is told beside them.
fn choices(app: &Arc<AppState>, generations: Vec<Generation>, n: usize) -> Choices {
    let meter = Meter::start(Arc::clone(&app.metrics), generations.len());
    Choices::new(generations, n, meter)
}

fn notes(app: &AppState, generate: &Generate, warnings: Vec<String>) -> Result<Notes, ApiError> {
    let context_tokens = app.limits()?.context_tokens;
    Ok(Notes {
        warnings,
        max_tokens: generate.options.max_tokens,
        context_tokens,
        strict: app.config.strict,
    })
}

/// Server-sent events, with comments while nothing happens.
fn event_stream<D: Dialect + 'static>(
    app: &AppState,
    choices: Choices,
    dialect: D,
    notes: Notes,
) -> Response {
    let frames = stream::events(choices, dialect, notes);
    let events = frames.map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let keep_alive = KeepAlive::new().interval(app.config.keep_alive).text("keep-alive");
    let headers = [("cache-control", "no-cache"), ("x-accel-buffering", "no")];
    (headers, Sse::new(events).keep_alive(keep_alive)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_seeded_request_has_its_own_seed() {
        let mut options = GenerateOptions::default();
        let seed = |options: &GenerateOptions, i| nth_options(options, i).sampling.seed;
        assert_eq!(seed(&options, 1), None);
        options.sampling.seed = Some(u64::MAX);
        assert_eq!(seed(&options, 0), Some(u64::MAX));
        assert_eq!(seed(&options, 1), Some(0));
    }
}
