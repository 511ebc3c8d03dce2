//! Errors of the Messages API: the same situations in Anthropic's shape, wherever on its routes they come from.

use crate::app::RequestId;
use crate::error::ApiError;
use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Where this dialect is spoken.
const ROUTES: &str = "/v1/messages";

/// Anthropic's word for a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        _ => "api_error",
    }
}

/// The body.
pub fn body(error: &ApiError, request_id: Option<&str>) -> Value {
    let told = json!({"type": kind(error.status().as_u16()), "message": error.message()});
    json!({"type": "error", "error": told, "request_id": request_id})
}

/// The layer over all routes: gives errors on the dialect's routes its shape.
pub async fn translate(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let rest = path.strip_prefix(ROUTES);
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let response = next.run(request).await;
    let Some(error) = response.extensions().get::<ApiError>().cloned() else { return response };
    let (mut head, _) = response.into_parts();
    // The new body has its own.
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    head.headers.remove(axum::http::header::CONTENT_TYPE);
    (head, Json(body(&error, id.as_deref()))).into_response()
}
