//! Ways to a server that the SDK does not bring, or brings without what is needed here.
//! Each is an `rmcp` transport: it carries messages and knows nothing of tools.

mod http;
mod lines;
mod sse;
mod stdio;
mod websocket;

pub(crate) use http::tls;
pub(super) use http::{HttpClient, http_client};
pub(super) use sse::Sse;
pub(super) use stdio::{Obituary, Stdio};
pub(super) use websocket::WebSocket;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, JsonRpcMessage, RequestId, ServerJsonRpcMessage};

/// Largest message that is taken from a server, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The other side, or we, closed the connection.
    #[error("the connection is closed")]
    Closed,
    /// Writing failed.
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    /// The message is no JSON.
    #[error("cannot write the message as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An HTTP request failed.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// The server refused a message.
    #[error("the server answered with HTTP status {0}")]
    Status(u16),
    /// A WebSocket failed.
    #[error("{0}")]
    WebSocket(String),
}

/// A message as the SDK knows it; `None` for what is none: a log line, an empty one, an unknown form.
fn message(bytes: &[u8]) -> Option<ServerJsonRpcMessage> {
    match serde_json::from_slice(bytes) {
        Ok(message) => Some(message),
        Err(error) => {
            let start = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes));
            tracing::debug!("not a message ({error}): {start}");
            None
        }
    }
}

/// The answer put in place of one that is too large to be read.
fn too_large(id: Option<RequestId>) -> ServerJsonRpcMessage {
    let text = format!(
        "the server's answer is larger than {} MiB and was dropped",
        MAX_MESSAGE_BYTES >> 20
    );
    JsonRpcMessage::error(ErrorData::new(ErrorCode::INTERNAL_ERROR, text, None), id)
}
