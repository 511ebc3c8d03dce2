//! `POST /tokenize`, `/detokenize`, `/apply-template`: the text side without the model.
//! Both common spellings are read: `content` with `add_special`, and `prompt` with `add_special_tokens`.

use super::chat::default_thinking;
use super::{blocking, check_warnings};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::media;
use crate::openai::chat::ChatBody;
use crate::openai::generate::{GenerateBody, check_token};
use crate::openai::message::Messages;
use crate::openai::response::token_text;
use axum::Json;
use axum::extract::State;
use mistralrs_core::{ChatRequest, RequestError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// A text or a conversation.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct TokenizeBody {
    /// The loaded model's id, or `default`.
    pub model: Option<String>,
    /// The text.
    #[serde(alias = "prompt", alias = "text")]
    pub content: Option<String>,
    /// Or a conversation, rendered with the chat template first.
    pub messages: Option<Messages>,
    /// Further variables for the chat template.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Add the tokens a prompt begins with (default: true for a text, false for a rendered conversation).
    #[serde(alias = "add_special_tokens")]
    pub add_special: Option<bool>,
    /// Give the text of every token too.
    pub with_pieces: Option<bool>,
}

/// Tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenizeResponse {
    /// Ids; with `with_pieces`, objects of `id` and `piece`.
    #[schema(value_type = Vec<u32>)]
    pub tokens: Value,
    /// How many.
    pub count: usize,
    /// The model's context in tokens.
    pub max_model_len: usize,
    /// What was ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Text → tokens.
///
/// # Errors
/// [`ApiError`], as JSON.
#[utoipa::path(
    post, path = "/tokenize", tag = "text", request_body = TokenizeBody,
    responses((status = 200, body = TokenizeResponse), (status = "4XX", body = ErrorResponse, description = "Refused"))
)]
pub async fn tokenize(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let model = app.model.get()?;
    let parsed = body.parse::<TokenizeBody>()?;
    let body = parsed.value;
    model.check_name(body.model.as_deref())?;
    let mut warnings = Vec::new();
    check_warnings(&app, &parsed.unknown, &mut warnings)?;
    let source = match (body.content, body.messages) {
        (Some(text), None) => Source::Text(text),
        (None, Some(mut messages)) => {
            media::fetch(&app.config.media, &mut messages).await?;
            let mut request = ChatRequest {
                messages: messages.into_core()?,
                template_kwargs: body.chat_template_kwargs.unwrap_or_default(),
                ..ChatRequest::default()
            };
            default_thinking(&app, &mut request);
            Source::Chat(Box::new(request))
        }
        _ => {
            return Err(ApiError::invalid(
                "content",
                "give either `content` (or `prompt`) or `messages`",
            ));
        }
    };
    let (llm, with_pieces) = (model.llm.clone(), body.with_pieces.unwrap_or(false));
    let (tokens, count) = blocking(move || {
        let ids = match source {
            Source::Text(text) => llm.tokenize(&text, body.add_special.unwrap_or(true))?,
            Source::Chat(request) => {
                llm.tokenize_chat(&request, body.add_special.unwrap_or(false))?
            }
        };
        let piece = |&id: &u32| json!({"id": id, "piece": token_text(&llm.token_bytes(id))});
        let tokens = if with_pieces { ids.iter().map(piece).collect() } else { json!(ids) };
        Ok::<_, RequestError>((tokens, ids.len()))
    })
    .await?;
    let max_model_len = app.limits()?.context_tokens;
    Ok(Json(TokenizeResponse { tokens, count, max_model_len, warnings }))
}

enum Source {
    Text(String),
    Chat(Box<ChatRequest>),
}

/// Token ids.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct DetokenizeBody {
    /// The loaded model's id, or `default`.
    pub model: Option<String>,
    /// The ids.
    pub tokens: Vec<u32>,
    /// Leave out tokens that are no text (default: false).
    #[serde(alias = "skip_special")]
    pub skip_special_tokens: Option<bool>,
}

/// Text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DetokenizeResponse {
    /// The text.
    pub content: String,
    /// The same, under the other common name.
    pub prompt: String,
    /// What was ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Tokens → text.
///
/// # Errors
/// [`ApiError`], as JSON.
#[utoipa::path(
    post, path = "/detokenize", tag = "text", request_body = DetokenizeBody,
    responses((status = 200, body = DetokenizeResponse), (status = "4XX", body = ErrorResponse, description = "Refused"))
)]
pub async fn detokenize(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let model = app.model.get()?;
    let parsed = body.parse::<DetokenizeBody>()?;
    let body = parsed.value;
    model.check_name(body.model.as_deref())?;
    let mut warnings = Vec::new();
    check_warnings(&app, &parsed.unknown, &mut warnings)?;
    let limits = app.limits()?;
    for (i, &id) in body.tokens.iter().enumerate() {
        check_token(&format!("tokens[{i}]"), id, &limits)?;
    }
    let llm = model.llm.clone();
    let content =
        blocking(move || llm.detokenize(&body.tokens, body.skip_special_tokens.unwrap_or(false)))
            .await?;
    Ok(Json(DetokenizeResponse { prompt: content.clone(), content, warnings }))
}

/// A rendered conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateResponse {
    /// What the model would read.
    pub prompt: String,
    /// What was ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A chat request → the prompt it stands for.
///
/// # Errors
/// [`ApiError`], as JSON.
#[utoipa::path(
    post, path = "/apply-template", tag = "text", request_body = crate::openai::chat::ChatCompletionRequest,
    responses((status = 200, body = TemplateResponse), (status = "4XX", body = ErrorResponse, description = "Refused"))
)]
pub async fn apply_template(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Json<TemplateResponse>, ApiError> {
    let model = app.model.get()?;
    let (mut chat, generate, unknown) = body.parse_both::<ChatBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    media::fetch(&app.config.media, &mut chat.messages).await?;
    let mut warnings = Vec::new();
    let mut chat = chat.into_core(generate, &app.limits()?, &mut warnings)?;
    check_warnings(&app, &unknown, &mut warnings)?;
    default_thinking(&app, &mut chat.request);
    let llm = model.llm.clone();
    let prompt = blocking(move || llm.apply_template(&chat.request)).await?;
    Ok(Json(TemplateResponse { prompt, warnings }))
}
