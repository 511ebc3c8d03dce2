//! `POST /v1/responses`, and what can be done with a response that is kept.

use super::chat::{Begun, begin, default_thinking};
use super::{check_warnings, event_stream, notes};
use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::extract::JsonBytes;
use crate::media;
use crate::openai::generate::GenerateBody;
use crate::openai::values::TextOr;
use crate::responses::events::ResponsesDialect;
use crate::responses::input::{self, Item};
use crate::responses::request::{CreateResponseRequest, ResponsesBody, flat};
use crate::responses::response::{DeletedResponse, ItemList, ResponseBody, Status};
use crate::responses::store::Kept;
use crate::stream::assemble;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Answers items with items.
///
/// # Errors
/// [`ApiError`], as JSON; once a stream has begun, as its last event.
#[utoipa::path(
    post, path = "/v1/responses", tag = "generation", request_body = CreateResponseRequest,
    responses(
        (status = 200, body = ResponseBody, description = "The response; with `stream`, events from `response.created` to `response.completed`"),
        (status = "4XX", body = ErrorResponse, description = "The request cannot be answered"),
        (status = "5XX", body = ErrorResponse, description = "Not the request's fault"),
    )
)]
pub async fn create(
    State(app): State<Arc<AppState>>,
    body: JsonBytes,
) -> Result<Response, ApiError> {
    let model = app.model.get()?;
    let (mut body, generate, unknown) = body.parse_both::<ResponsesBody, GenerateBody>()?;
    model.check_name(generate.model.as_deref())?;
    if let Some(TextOr::List(items)) = &mut body.input {
        media::fetch_urls(&app.config.media, input::urls(items)).await?;
    }
    let before = conversation(&app, body.previous_response_id.as_deref())?;
    let mut warnings = Vec::new();
    let mut asked = body.into_core(generate, &before, &app.limits()?, &mut warnings)?;
    check_warnings(&app, &unknown, &mut warnings)?;
    default_thinking(&app, &mut asked.chat.request);
    let keeps = asked.store && app.responses.is_on();
    if asked.background && (asked.chat.generate.stream || !keeps) {
        let message = "`background` does not go together with `stream`, and needs a server that keeps responses";
        return Err(ApiError::unsupported("background", message));
    }

    let begun = begin(&app, model, &mut asked.chat, &mut warnings).await;
    let Begun { mut choices, origins } = begun.map_err(flat)?;
    let mut notes = notes(&app, &asked.chat.generate, warnings)?;
    if notes.strict && asked.chat.generate.stream {
        choices.read_prompts(&mut notes).await?;
    }
    let draft = ResponseBody { model: model.name.clone(), store: keeps, ..asked.draft };
    let input = Arc::new(input::to_keep(asked.items));
    let logprobs = asked.chat.generate.options.logprobs.is_some();
    let mut dialect = ResponsesDialect::new(draft.clone(), logprobs, origins);
    if keeps && !asked.background {
        let (app, input) = (Arc::clone(&app), Arc::clone(&input));
        dialect = dialect.on_end(Box::new(move |response| {
            app.responses.keep(&response.id, Kept::new(response, input));
        }));
    }
    if asked.background {
        app.responses.keep(&draft.id, Kept::new(&draft, Arc::clone(&input)));
        let (id, app_too) = (draft.id.clone(), Arc::clone(&app));
        let dialect = dialect.on_end(Box::new(move |response| {
            app_too.responses.finish(&response.id, Kept::new(response, input));
        }));
        let work = tokio::spawn(async move { assemble(choices, dialect, notes).await.map(drop) });
        app.responses.works(&id, work.abort_handle());
        return Ok(Json(draft).into_response());
    }
    if asked.chat.generate.stream {
        return Ok(event_stream(&app, choices, dialect, notes));
    }
    let dialect = assemble(choices, dialect, notes).await?;
    Ok(Json(dialect.into_response()).into_response())
}

/// What a response said and what it answered; nothing without one.
fn conversation(app: &AppState, id: Option<&str>) -> Result<Vec<Item>, ApiError> {
    let Some(id) = id else { return Ok(Vec::new()) };
    let kept = app.responses.get(id).ok_or_else(|| ApiError::response_not_found(id))?;
    if kept.status == Status::InProgress {
        let message = format!("the response `{id}` has not ended yet");
        return Err(ApiError::invalid("previous_response_id", message));
    }
    Ok(kept.conversation())
}

/// A kept response.
///
/// # Errors
/// 404 if there is none of this id.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "generation", params(("id" = String, Path)),
    responses((status = 200, body = ResponseBody), (status = 404, body = ErrorResponse, description = "No such response"))
)]
pub async fn read(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match app.responses.get(&id) {
        Some(kept) => Ok(Json(kept.response)),
        None => Err(ApiError::response_not_found(&id)),
    }
}

/// Forgets a kept response; work on it ends.
///
/// # Errors
/// 404 if there is none of this id.
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "generation", params(("id" = String, Path)),
    responses((status = 200, body = DeletedResponse), (status = 404, body = ErrorResponse, description = "No such response"))
)]
pub async fn delete(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<DeletedResponse>, ApiError> {
    if app.responses.delete(&id) {
        Ok(Json(DeletedResponse { id, object: "response", deleted: true }))
    } else {
        Err(ApiError::response_not_found(&id))
    }
}

/// Ends the work on a response of the background.
///
/// # Errors
/// 404 if there is none of this id, 400 if it is not of the background.
#[utoipa::path(
    post, path = "/v1/responses/{id}/cancel", tag = "generation", params(("id" = String, Path)),
    responses((status = 200, body = ResponseBody), (status = "4XX", body = ErrorResponse, description = "It cannot be canceled"))
)]
pub async fn cancel(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let kept = app.responses.get(&id).ok_or_else(|| ApiError::response_not_found(&id))?;
    if !kept.background {
        let message = "only responses of the background can be canceled; hang up to cancel others";
        return Err(ApiError::invalid("id", message));
    }
    let kept = app.responses.cancel(&id).ok_or_else(|| ApiError::response_not_found(&id))?;
    Ok(Json(kept.response))
}

/// Which items to list.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    /// Most items: 1 to 100 (20).
    limit: Option<usize>,
    /// `asc`, or `desc`: the newest first (default).
    order: Option<String>,
    /// Begin behind the item of this id.
    after: Option<String>,
}

/// The conversation that a kept response answered.
///
/// # Errors
/// 404 if there is none of this id, 400 for a wrong query.
#[utoipa::path(
    get, path = "/v1/responses/{id}/input_items", tag = "generation", params(
        ("id" = String, Path), ("limit" = Option<usize>, Query), ("order" = Option<String>, Query), ("after" = Option<String>, Query)
    ),
    responses((status = 200, body = ItemList), (status = "4XX", body = ErrorResponse, description = "No such response"))
)]
pub async fn input_items(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ItemList>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::malformed("query", error.body_text()))?;
    let kept = app.responses.get(&id).ok_or_else(|| ApiError::response_not_found(&id))?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::invalid("limit", "`limit` has to be 1 to 100"));
    }
    let mut items: Vec<Item> = kept.input.to_vec();
    match query.order.as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::invalid("order", "`order` has to be `asc` or `desc`")),
    }
    if let Some(after) = query.after {
        let Some(at) = items.iter().position(|item| item.id.as_ref() == Some(&after)) else {
            return Err(ApiError::invalid("after", "`after` names no item of this response"));
        };
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&Item>| item.and_then(|item| item.id.clone()).unwrap_or_default();
    let (first_id, last_id) = (id(items.first()), id(items.last()));
    Ok(Json(ItemList { object: "list", data: items, has_more, first_id, last_id }))
}
