//! One endpoint each: extract → engine → respond.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod health;
pub mod mcp;
pub mod messages;
pub mod models;
pub mod responses;
pub mod tokenize;
mod tools;

use crate::app::AppState;
use crate::error::ApiError;
use crate::metrics::{Meter, Outcome};
use crate::openai::generate::Generate;
use crate::stream::{self, Choices, Dialect, Frame, Notes};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use mistralrs_core::{GenerateOptions, RequestError};
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

/// Hands the request to the engine; the clock runs from here. What the engine does not take is counted as refused.
async fn submit<T: Send + 'static>(
    app: &AppState,
    work: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<(T, Meter), ApiError> {
    started(app, blocking(work)).await
}

/// The same for work that waits instead of computing.
async fn started<T>(
    app: &AppState,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<(T, Meter), ApiError> {
    let mut meter = Meter::start(Arc::clone(&app.metrics));
    match work.await {
        Ok(taken) => Ok((taken, meter)),
        Err(error) => {
            meter.end(Outcome::Refused);
            Err(error)
        }
    }
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
    let event = |frame: Frame| match frame.event {
        Some(name) => Event::default().event(name).data(frame.data),
        None => Event::default().data(frame.data),
    };
    let events = frames.map(move |frame| Ok::<_, Infallible>(event(frame)));
    let keep_alive = KeepAlive::new().interval(app.config.keep_alive).text("keep-alive");
    let headers = [("cache-control", "no-cache"), ("x-accel-buffering", "no")];
    (headers, Sse::new(events).keep_alive(keep_alive)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ServerConfig;
    use crate::openai::chat::ChatDialect;
    use crate::openai::response::Head;
    use mistralrs_core::Delta;
    use std::time::Duration;

    #[tokio::test]
    async fn a_silent_stream_is_kept_alive() {
        let keep_alive = Duration::from_millis(1);
        let app = AppState::new(ServerConfig { keep_alive, ..ServerConfig::default() }, None);
        let silence = futures::stream::pending::<Result<Delta, RequestError>>();
        let choices = Choices::new(vec![silence], 1, Meter::start(Arc::clone(&app.metrics)));
        let dialect = ChatDialect { head: Head::new("chatcmpl", "m", "f", false), logprobs: false };
        let response = event_stream(&app, choices, dialect, Notes::default());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut frames = response.into_body().into_data_stream();
        for _ in 0..3 {
            assert_eq!(frames.next().await.unwrap().unwrap(), ": keep-alive\n\n");
        }
    }

    #[tokio::test]
    async fn what_the_engine_does_not_take_is_refused_and_who_leaves_has_left() {
        let app = AppState::new(ServerConfig::default(), None);
        let full = || Err::<(), _>(RequestError::Overloaded { queued: 1 });
        assert_eq!(submit(&app, full).await.map(|_| ()).unwrap_err().status().as_u16(), 429);
        let (_, meter) = submit(&app, || Ok(())).await.unwrap();
        drop(meter);
        let page = app.metrics.render(None);
        for outcome in ["refused", "cancelled"] {
            assert!(page.contains(&format!("{{outcome=\"{outcome}\"}} 1\n")), "{page}");
        }
    }

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
