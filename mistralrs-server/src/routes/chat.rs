//! `POST /v1/chat/completions`.

use super::{check_warnings, event_stream, notes, nth_options, started, submit, tools};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::openai::chat::{ChatBody, ChatCompletionRequest, ChatCompletionResponse, ChatDialect};
use crate::openai::generate::GenerateBody;
use crate::openai::response::Head;
use crate::stream::{Choices, collect};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::future::try_join_all;
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

    let (n, request) = (chat.generate.n, chat.request);
    let helped = tools::helped(&app, model, &request, chat.mcp).await;
    let (answers, meter) = match helped {
        Some((agent, offered)) => {
            let nth = |i| {
                let options = nth_options(&request.options, i);
                agent.answer(ChatRequest { options, ..request.clone() }, offered.clone())
            };
            let work = async { try_join_all((0..n).map(nth)).await.map_err(ApiError::from) };
            started(&app, work).await?
        }
        None => {
            let llm = model.llm.clone();
            submit(&app, move || {
                let nth = |i| {
                    let options = nth_options(&request.options, i);
                    llm.chat(ChatRequest { options, ..request.clone() }).map(StreamExt::boxed)
                };
                (0..n).map(nth).collect::<Result<Vec<_>, _>>()
            })
            .await?
        }
    };
    let mut choices = Choices::new(answers, n, meter);
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
