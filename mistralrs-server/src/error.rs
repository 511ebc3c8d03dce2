//! [`ApiError`]: a situation, its HTTP status and its OpenAI error body. The only place with status codes.
//! Knows `RequestError` by kind; never looks at the text of an error.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mistralrs_core::RequestError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest error text that is sent: what a client wrote may come back in it.
const MAX_MESSAGE_CHARS: usize = 600;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorResponse {
    /// What happened.
    pub error: ErrorBody,
}

/// What happened, in OpenAI's four fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A sentence that says what to do.
    pub message: String,
    /// The family: `invalid_request_error`, `rate_limit_error`, `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault, as a path (`messages[1].content`).
    pub param: Option<String>,
    /// The situation, for programs.
    pub code: Option<String>,
}

/// A request that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after_seconds: Option<u64>,
}

const INVALID: &str = "invalid_request_error";
const RATE: &str = "rate_limit_error";
const SERVER: &str = "server_error";

impl ApiError {
    fn new(status: StatusCode, kind: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(cut);
            message.push('…');
        }
        let body = ErrorBody {
            message,
            kind: kind.to_owned(),
            param: None,
            code: code.map(str::to_owned),
        };
        Self { status, body, retry_after_seconds: None }
    }

    fn param(mut self, param: impl Into<String>) -> Self {
        let param: String = param.into();
        self.body.param = (!param.is_empty()).then(|| param.chars().take(200).collect());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// A field has an impossible value.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_value"), message).param(param)
    }

    /// A field that this server knows and cannot honor yet.
    pub fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("unsupported_parameter"), message)
            .param(param)
    }

    /// The body is no JSON, or not of the right shape.
    pub fn malformed(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_json"), message).param(param)
    }

    /// `--strict` and a request that would have been answered with warnings.
    pub fn strict(warnings: &[String]) -> Self {
        let message = format!("refused because of --strict: {}", warnings.join("; "));
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("strict"), message)
    }

    /// No key, or a wrong one.
    pub fn unauthorized(given: bool) -> Self {
        let message = if given {
            "the API key is not valid"
        } else {
            "an API key is needed: send the header `Authorization: Bearer KEY` or `x-api-key: KEY`"
        };
        Self::new(StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key"), message)
    }

    /// Another model than the loaded one was asked for.
    pub fn model_not_found(asked: &str, loaded: &str) -> Self {
        let asked: String = asked.chars().take(100).collect();
        let message = format!(
            "the model `{asked}` is not loaded; loaded is `{loaded}` (also answers to `default`)"
        );
        Self::new(StatusCode::NOT_FOUND, INVALID, Some("model_not_found"), message).param("model")
    }

    /// The loaded model is of another kind than this route needs.
    pub fn wrong_kind(loaded: &str, is: &str, remedy: &str) -> Self {
        let message = format!("the loaded model `{loaded}` is {is}; {remedy}");
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("model_not_suitable"), message)
            .param("model")
    }

    /// No such route.
    pub fn no_route(path: &str) -> Self {
        let path: String = path.chars().take(100).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            INVALID,
            Some("unknown_url"),
            format!("there is nothing at {path}; see /docs"),
        )
    }

    /// The route exists, the method does not.
    pub fn method_not_allowed(method: &str, path: &str) -> Self {
        let (method, path): (String, String) =
            (method.chars().take(20).collect(), path.chars().take(100).collect());
        let message = format!("{path} does not answer to {method}; see /docs");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, Some("method_not_allowed"), message)
    }

    /// The body is larger than `--max-body-mb`.
    pub fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!(
            "the request's body is larger than {} MB, the limit (--max-body-mb)",
            limit_bytes / 1_000_000
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, Some("request_too_large"), message)
    }

    /// The body did not arrive.
    pub fn body_unreadable() -> Self {
        let message = "the request's body did not arrive completely or in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, INVALID, Some("request_timeout"), message)
    }

    /// The content type is not JSON.
    pub fn not_json() -> Self {
        let message = "the body has to be JSON, with the header `Content-Type: application/json`";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            INVALID,
            Some("unsupported_media_type"),
            message,
        )
    }

    /// The body is packed.
    pub fn encoded(coding: &str) -> Self {
        let message =
            format!("a packed body (`Content-Encoding: {coding}`) is not read: send it plain");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            INVALID,
            Some("unsupported_media_type"),
            message,
        )
    }

    /// More requests are being read and prepared than the server wants to hold.
    pub fn too_many_requests(limit: usize) -> Self {
        let message = format!("the server holds {limit} requests, its limit; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, RATE, Some("server_overloaded"), message)
            .retry_after(1)
    }

    /// The model is still being loaded.
    pub fn loading(progress: &str) -> Self {
        let message = format!("the model is still being loaded ({progress}); try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("model_loading"), message)
            .retry_after(2)
    }

    /// Loading failed; the process is about to end.
    pub fn load_failed() -> Self {
        let message = "the model could not be loaded; the reason is in the server's log";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("model_load_failed"), message)
    }

    /// Ours, and it has no number: something panicked or a channel closed without a word.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            SERVER,
            Some("internal_error"),
            "internal error; the details are in the server's log",
        )
    }

    /// The same, where a field has another name in the dialect of the request.
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        self.body.message = self.body.message.replace(from, to);
        self.body.param = self.body.param.map(|param| param.replace(from, to));
        self
    }

    /// There is no stored response of this id.
    pub fn response_not_found(id: &str) -> Self {
        let id: String = id.chars().take(100).collect();
        let message = format!(
            "there is no response `{id}`: it was never stored, was deleted, or made room for newer ones"
        );
        Self::new(StatusCode::NOT_FOUND, INVALID, Some("response_not_found"), message)
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The field at fault.
    pub fn field(&self) -> Option<&str> {
        self.body.param.as_deref()
    }

    /// The situation, for programs.
    pub fn code(&self) -> Option<&str> {
        self.body.code.as_deref()
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.body.message
    }

    /// The wire form, also sent in the middle of a stream.
    pub fn to_body(&self) -> ErrorResponse {
        ErrorResponse { error: self.body.clone() }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::Invalid { param, .. } => Self::invalid(param, message),
            RequestError::TooLong { .. }
            | RequestError::TooManyBytes { .. }
            | RequestError::TooMuchMedia { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                INVALID,
                Some("context_length_exceeded"),
                message,
            ),
            RequestError::Overloaded { .. } | RequestError::MediaInFlight { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, RATE, Some("server_overloaded"), message)
                    .retry_after(1)
            }
            RequestError::Timeout { .. } => {
                Self::new(StatusCode::REQUEST_TIMEOUT, INVALID, Some("timeout"), message)
                    .param("timeout_ms")
            }
            RequestError::Shutdown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("shutdown"), message)
                    .retry_after(5)
            }
            RequestError::Internal { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                SERVER,
                Some("internal_error"),
                message,
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_body())).into_response();
        // For dialects that spell errors otherwise.
        response.extensions_mut().insert(self.clone());
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_error_has_its_status_and_code() {
        let table = [
            (RequestError::invalid("top_p", "no"), 400, Some("invalid_value"), Some("top_p")),
            (
                RequestError::TooLong { prompt_tokens: 9, limit: 8 },
                400,
                Some("context_length_exceeded"),
                None,
            ),
            (
                RequestError::TooManyBytes { bytes: 9, limit: 8, tokens: 1 },
                400,
                Some("context_length_exceeded"),
                None,
            ),
            (
                RequestError::TooMuchMedia { tokens: 9, limit: 8 },
                400,
                Some("context_length_exceeded"),
                None,
            ),
            (RequestError::Overloaded { queued: 3 }, 429, Some("server_overloaded"), None),
            (
                RequestError::MediaInFlight { bytes: 9, limit: 8 },
                429,
                Some("server_overloaded"),
                None,
            ),
            (RequestError::Timeout { timeout_ms: 5 }, 408, Some("timeout"), Some("timeout_ms")),
            (RequestError::Shutdown, 503, Some("shutdown"), None),
            (RequestError::Internal { id: 7 }, 500, Some("internal_error"), None),
        ];
        for (error, status, code, param) in table {
            let text = error.to_string();
            let api = ApiError::from(error);
            assert_eq!(api.status().as_u16(), status, "{text}");
            assert_eq!((api.code(), api.field()), (code, param), "{text}");
            assert_eq!(api.message(), text);
        }
    }

    #[test]
    fn overload_tells_when_to_come_back() {
        let response = ApiError::from(RequestError::Overloaded { queued: 1 }).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let error = ApiError::invalid("x", "é".repeat(5000));
        assert_eq!(error.message().chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
