//! `GET /`, `/health`, `/metrics`.

use crate::app::AppState;
use crate::model::LoadProgress;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Says that the process is there.
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, body = String)))]
pub async fn root() -> &'static str {
    "OK"
}

/// Whether the model answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `loading` or `failed`.
    status: &'static str,
    /// The model, when it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// How far loading is, until it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<LoadProgress>,
}

/// Says whether the model answers: 200, or 503 with how far loading is.
#[utoipa::path(
    get, path = "/health", tag = "service",
    responses((status = 200, body = Health, description = "Ready"), (status = 503, body = Health, description = "Not yet"))
)]
pub async fn health(State(app): State<Arc<AppState>>) -> Response {
    if let Some(name) = app.model.name() {
        let body = Health { status: "ok", model: Some(name.to_owned()), progress: None };
        return Json(body).into_response();
    }
    let status = if app.model.has_failed() { "failed" } else { "loading" };
    let body = Health { status, model: None, progress: Some(app.model.progress()) };
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], Json(body)).into_response()
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String)))]
pub async fn metrics(State(app): State<Arc<AppState>>) -> Response {
    let stats = app.model.stats();
    let page = app.metrics.render(stats.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
