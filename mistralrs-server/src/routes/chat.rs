//! `POST /v1/chat/completions`.

use super::{check_warnings, event_stream, notes, nth_options, started, submit, tools};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::media;
use crate::model::LoadedModel;
use crate::openai::chat::{
    Chat, ChatBody, ChatCompletionRequest, ChatCompletionResponse, ChatDialect,
};
use crate::openai::generate::GenerateBody;
use crate::openai::response::Head;
use crate::stream::{Choices, collect};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::future::try_join_all;
use mistralrs_core::ChatRequest;
use mistralrs_core::agent::ToolSpec;
use std::collections::{BTreeMap, BTreeSet};
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
    let (mut chat, generate, unknown) = body.parse_both::<ChatBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    media::fetch(&app.config.media, &mut chat.messages).await?;
    let mut warnings = Vec::new();
    let mut chat = chat.into_core(generate, &app.limits()?, &mut warnings)?;
    check_warnings(&app, &unknown, &mut warnings)?;
    default_thinking(&app, &mut chat.request);

    let Begun { mut choices, .. } = begin(&app, model, &mut chat, &mut warnings).await?;
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

/// Answers that have begun.
pub(super) struct Begun {
    /// Their deltas.
    pub choices: Choices,
    /// Whose tools run here, by the tool's name.
    pub origins: BTreeMap<String, String>,
}

/// Begins the answers to a checked chat: with the help of the tools that run here if it gets any, else straight
/// from the engine.
pub(super) async fn begin(
    app: &AppState,
    model: &LoadedModel,
    chat: &mut Chat,
    warnings: &mut Vec<String>,
) -> Result<Begun, ApiError> {
    let budget = chat.thinking.budget(model.llm.capabilities(), warnings);
    check_warnings(app, &BTreeSet::new(), warnings)?;
    chat.request.options.thinking_budget = budget;
    let (n, request) = (chat.generate.n, chat.request.clone());
    let helped = tools::helped(app, model, chat).await?;
    let mut origins = BTreeMap::new();
    let (answers, meter) = match helped {
        Some((agent, offered)) => {
            let origin = |tool: &ToolSpec| (tool.name.clone(), tool.origin.clone());
            origins.extend(offered.iter().map(origin));
            let nth = |i| {
                let options = nth_options(&request.options, i);
                agent.answer(ChatRequest { options, ..request.clone() }, offered.clone())
            };
            let work = async { try_join_all((0..n).map(nth)).await.map_err(ApiError::from) };
            started(app, work).await?
        }
        None => {
            let llm = model.llm.clone();
            submit(app, move || {
                let options = (0..n).map(|i| nth_options(&request.options, i)).collect();
                let answers = llm.answers(&request, options)?;
                Ok(answers.into_iter().map(StreamExt::boxed).collect::<Vec<_>>())
            })
            .await?
        }
    };
    Ok(Begun { choices: Choices::new(answers, n, meter), origins })
}

/// `--enable-thinking` for requests that do not say.
pub(super) fn default_thinking(app: &AppState, request: &mut ChatRequest) {
    if let Some(thinking) = app.config.enable_thinking {
        request.template_kwargs.entry("enable_thinking").or_insert(thinking.into());
    }
}
