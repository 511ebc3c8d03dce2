//! `POST /v1/chat/completions`.

use super::{blocking, check_warnings, choices, event_stream, notes, nth_options};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::openai::chat::{ChatBody, ChatCompletionRequest, ChatCompletionResponse, ChatDialect};
use crate::openai::generate::GenerateBody;
use crate::openai::response::Head;
use crate::stream::collect;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use mistralrs_core::ChatRequest;
use std::sync::Arc;

/// Continues a conversation.
///
/// # Errors
/// [`ApiError`], as JSON; once a stream has begun, as one event of it.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "generation", request_body = ChatCompletionRequest,
    responses(
        (status = 200, body = ChatCompletionResponse, description = "The answer; with `stream`, events of `ChatCompletionChunk`, then `[DONE]`"),
        (status = "4XX", body = ErrorResponse, description = "The request cannot be answered"),
        (status = "5XX", body = ErrorResponse, description = "Not the request's fault"),
    )
)]
pub async fn chat_completions(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let model = app.model.get()?;
    let (chat, generate, unknown) = body.parse_both::<ChatBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    let mut warnings = Vec::new();
    let mut chat = chat.into_core(generate, &app.limits()?, &mut warnings)?;
    check_warnings(&app, &unknown, &mut warnings)?;
    default_thinking(&app, &mut chat.request);

    let (llm, n) = (model.llm.clone(), chat.generate.n);
    let request = chat.request;
    let generations = blocking(move || {
        let nth = |i| {
            let options = nth_options(&request.options, i);
            llm.chat(ChatRequest { options, ..request.clone() })
        };
        (0..n).map(nth).collect::<Result<Vec<_>, _>>()
    })
    .await?;
    let mut choices = choices(&app, generations, n);
    let mut notes = notes(&app, &chat.generate, warnings)?;

    let head = Head::new("chatcmpl", &model.name, &model.fingerprint, chat.generate.include_usage);
    let dialect = ChatDialect { head, logprobs: chat.generate.options.logprobs.is_some() };
    if chat.generate.stream {
        if notes.strict {
            choices.read_prompts(&mut notes).await?;
        }
        return Ok(event_stream(&app, choices, dialect, notes));
    }
    let (answer, warnings) = collect(choices, notes).await?;
    Ok(Json(dialect.response(answer, warnings)).into_response())
}

/// `--enable-thinking` for requests that do not say.
pub(super) fn default_thinking(app: &AppState, request: &mut ChatRequest) {
    if let Some(thinking) = app.config.enable_thinking {
        request.template_kwargs.entry("enable_thinking").or_insert(thinking.into());
    }
}
