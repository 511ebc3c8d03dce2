//! `POST /v1/completions`.

use super::{blocking, check_warnings, choices, event_stream, notes, nth_options};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::openai::completions::{
    Completion, CompletionBody, CompletionDialect, CompletionRequest as CompletionRequestBody,
    CompletionResponse, Echo,
};
use crate::openai::generate::GenerateBody;
use crate::openai::response::Head;
use crate::stream::collect;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use mistralrs_core::{CompletionRequest, Generation, Llm, Prompt, RequestError};
use std::sync::Arc;

/// Continues texts.
///
/// # Errors
/// [`ApiError`], as JSON; once a stream has begun, as one event of it.
#[utoipa::path(
    post, path = "/v1/completions", tag = "generation", request_body = CompletionRequestBody,
    responses(
        (status = 200, body = CompletionResponse, description = "The answer; with `stream`, events of the same type, then `[DONE]`"),
        (status = "4XX", body = ErrorResponse, description = "The request cannot be answered"),
        (status = "5XX", body = ErrorResponse, description = "Not the request's fault"),
    )
)]
pub async fn completions(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let model = app.model.get()?;
    let (completion, generate, unknown) = body.parse_both::<CompletionBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    let mut warnings = Vec::new();
    let completion = completion.into_core(generate, &app.limits()?, &mut warnings)?;
    check_warnings(&app, &unknown, &mut warnings)?;

    let llm = model.llm.clone();
    let (completion, echoes, generations) = blocking(move || {
        let (echoes, generations) = submit(&llm, &completion)?;
        Ok((completion, echoes, generations))
    })
    .await?;
    let mut choices = choices(&app, generations, completion.generate.n);
    let mut notes = notes(&app, &completion.generate, warnings)?;

    let head =
        Head::new("cmpl", &model.name, &model.fingerprint, completion.generate.include_usage);
    let dialect = CompletionDialect::new(head, &completion, echoes);
    if completion.generate.stream {
        if notes.strict {
            choices.read_prompts(&mut notes).await?;
        }
        return Ok(event_stream(&app, choices, dialect, notes));
    }
    let (answer, warnings) = collect(choices, notes).await?;
    Ok(Json(dialect.response(answer, warnings)).into_response())
}

/// Starts all answers. If one is refused, those before it are dropped and so cancelled.
fn submit(
    llm: &Llm,
    completion: &Completion,
) -> Result<(Vec<Echo>, Vec<Generation>), RequestError> {
    let mut echoes = Vec::new();
    let mut generations = Vec::new();
    for prompt in &completion.prompts {
        let mut prompt = prompt.clone();
        if completion.echo {
            let (echo, tokens) = echo(llm, prompt)?;
            echoes.push(echo);
            prompt = Prompt::Tokens(tokens);
        }
        for i in 0..completion.generate.n {
            let options = nth_options(&completion.generate.options, i);
            generations.push(llm.complete(CompletionRequest { prompt: prompt.clone(), options })?);
        }
    }
    Ok((echoes, generations))
}

/// The text and the tokens of a prompt, whichever it came as.
fn echo(llm: &Llm, prompt: Prompt) -> Result<(Echo, Vec<u32>), RequestError> {
    let (text, tokens) = match prompt {
        Prompt::Text(text) => {
            let tokens = llm.tokenize(&text, true)?;
            (text, tokens)
        }
        Prompt::Tokens(tokens) => (llm.detokenize(&tokens, true)?, tokens),
    };
    let first_token = tokens.first().map(|&id| llm.token_bytes(id)).unwrap_or_default();
    Ok((Echo { text, first_token }, tokens))
}
