//! `POST /v1/embeddings` and `POST /v1/rerank`.

use super::{check_warnings, submit};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::metrics::{Meter, Outcome};
use crate::openai::embeddings::{EmbeddingsBody, EmbeddingsResponse};
use crate::openai::rerank::{RerankBody, RerankResponse};
use axum::Json;
use axum::extract::State;
use mistralrs_core::{Pending, RequestError};
use std::sync::Arc;

/// Turns texts into vectors.
///
/// # Errors
/// [`ApiError`], as JSON.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "embeddings", request_body = EmbeddingsBody,
    responses(
        (status = 200, body = EmbeddingsResponse),
        (status = "4XX", body = ErrorResponse, description = "The request cannot be answered"),
        (status = "5XX", body = ErrorResponse, description = "Not the request's fault"),
    )
)]
pub async fn embeddings(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<EmbeddingsResponse>, ApiError> {
    let model = app.model.embedder()?;
    let parsed = body.parse::<EmbeddingsBody>()?;
    model.card.check_name(parsed.value.model.as_deref())?;
    let (request, encoding) = parsed.value.into_core()?;
    let mut warnings = Vec::new();
    check_warnings(&app, &parsed.unknown, &mut warnings)?;
    let embedder = model.embedder.clone();
    let answer = answer(&app, move || embedder.embed(request)).await?;
    Ok(Json(EmbeddingsResponse::from_core(&model.card.name, answer, encoding, warnings)))
}

/// Ranks documents by how well they answer a query.
///
/// # Errors
/// [`ApiError`], as JSON.
#[utoipa::path(
    post, path = "/v1/rerank", tag = "embeddings", request_body = RerankBody,
    responses(
        (status = 200, body = RerankResponse),
        (status = "4XX", body = ErrorResponse, description = "The request cannot be answered"),
        (status = "5XX", body = ErrorResponse, description = "Not the request's fault"),
    )
)]
pub async fn rerank(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<RerankResponse>, ApiError> {
    let model = app.model.embedder()?;
    let parsed = body.parse::<RerankBody>()?;
    model.card.check_name(parsed.value.model.as_deref())?;
    let (request, form) = parsed.value.into_core()?;
    let mut warnings = Vec::new();
    check_warnings(&app, &parsed.unknown, &mut warnings)?;
    let documents = if form.wants_documents() { request.documents.clone() } else { Vec::new() };
    let embedder = model.embedder.clone();
    let answer = answer(&app, move || embedder.rerank(&request)).await?;
    Ok(Json(RerankResponse::from_core(&model.card.name, &answer, documents, form, warnings)))
}

/// Tokenizes away from the threads that serve, waits for the vectors, counts the outcome. Who leaves
/// drops what is pending, and so cancels it.
async fn answer<T: Send + 'static>(
    app: &AppState,
    work: impl FnOnce() -> Result<Pending<T>, RequestError> + Send + 'static,
) -> Result<T, ApiError> {
    let (pending, mut meter): (Pending<T>, Meter) = submit(app, work).await?;
    let answer = pending.wait().await;
    meter.end(if answer.is_ok() { Outcome::Answered } else { Outcome::Failed });
    Ok(answer?)
}
