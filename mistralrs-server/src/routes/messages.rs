//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API.

use super::chat::{Begun, begin};
use super::{blocking, check_warnings, event_stream, notes};
use crate::anthropic::content;
use crate::anthropic::events::MessagesDialect;
use crate::anthropic::request::{CreateMessageRequest, MessagesBody, flat};
use crate::anthropic::response::{MessageResponse, TokenCount};
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::JsonBytes;
use crate::media;
use crate::openai::chat::Chat;
use crate::openai::generate::GenerateBody;
use crate::stream::assemble;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Continues a conversation.
///
/// # Errors
/// [`ApiError`]; a layer gives it Anthropic's shape. Once a stream has begun, as its last event.
#[utoipa::path(
    post, path = "/v1/messages", tag = "generation", request_body = CreateMessageRequest,
    responses(
        (status = 200, body = MessageResponse, description = "The answer; with `stream`, events from `message_start` to `message_stop`"),
        (status = "4XX", body = Object, description = "The request cannot be answered"),
        (status = "5XX", body = Object, description = "Not the request's fault"),
    )
)]
pub async fn create(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let model = app.model.get()?;
    let mut warnings = Vec::new();
    let mut chat = read(&app, &body, false, &mut warnings).await?;
    let begun = begin(&app, model, &mut chat, &mut warnings).await;
    let Begun { mut choices, origins } = begun.map_err(flat)?;
    let mut notes = notes(&app, &chat.generate, warnings)?;
    let dialect = MessagesDialect::new(MessageResponse::new(&model.name), origins);
    if chat.generate.stream {
        if notes.strict {
            choices.read_prompts(&mut notes).await?;
        }
        return Ok(event_stream(&app, choices, dialect, notes));
    }
    let dialect = assemble(choices, dialect, notes).await?;
    Ok(Json(dialect.into_message()).into_response())
}

/// How many tokens the prompt of a request has.
///
/// # Errors
/// As [`create`].
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "generation", request_body = CreateMessageRequest,
    responses((status = 200, body = TokenCount), (status = "4XX", body = Object, description = "The request cannot be read"))
)]
pub async fn count_tokens(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<TokenCount>, ApiError> {
    let chat = read(&app, &body, true, &mut Vec::new()).await?;
    let llm = app.model.get()?.llm.clone();
    let count = move || llm.tokenize_chat(&chat.request, false);
    let input_tokens = blocking(count).await.map_err(flat)?.len();
    Ok(Json(TokenCount { input_tokens }))
}

async fn read(
    app: &AppState,
    body: &JsonBytes,
    counts: bool,
    warnings: &mut Vec<String>,
) -> Result<Chat, ApiError> {
    let model = app.model.get()?;
    let (mut body, generate, unknown) = body.parse_both::<MessagesBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    media::fetch_urls(&app.config.media, content::urls(&mut body.messages)).await?;
    let mut chat = body.into_core(generate, &app.limits()?, counts, warnings)?;
    check_warnings(app, &unknown, warnings)?;
    // Who does not ask for thoughts expects none.
    let thinking = app.config.enable_thinking.unwrap_or(false);
    chat.request.template_kwargs.entry("enable_thinking").or_insert(thinking.into());
    Ok(chat)
}
