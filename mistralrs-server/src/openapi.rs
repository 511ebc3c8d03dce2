//! The OpenAPI document, made from the wire types, and a page that shows it without the network.

use crate::error::ErrorResponse;
use crate::openai::chat::ChatCompletionChunk;
use crate::routes::{
    chat, completions, embeddings, health, mcp, messages, models, responses, tokenize,
};
use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use utoipa::OpenApi;

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(title = "mistralrs-server", description = "Large language models over an OpenAI-compatible API"),
    paths(
        chat::chat_completions, completions::completions, embeddings::embeddings, embeddings::rerank, models::list, models::one,
        tokenize::tokenize, tokenize::detokenize, tokenize::apply_template, health::root, health::health, health::metrics,
        mcp::servers, responses::create, responses::read, responses::delete, responses::cancel,
        responses::input_items, messages::create, messages::count_tokens
    ),
    components(schemas(ChatCompletionChunk, ErrorResponse)),
    tags(
        (name = "generation"), (name = "embeddings"), (name = "models"), (name = "text"), (name = "tools"),
        (name = "service")
    )
)]
pub struct Document;

/// `GET /openapi.json`.
pub async fn document() -> Response {
    Json(Document::openapi()).into_response()
}

/// `GET /docs`. The page loads nothing but the document of the same server; its own header sees to it.
pub async fn page() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}
