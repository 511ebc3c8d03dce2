//! `GET /v1/models` and `/v1/models/{id}`.

use crate::app::AppState;
use crate::error::{ApiError, ErrorResponse};
use crate::openai::response::{ModelBody, ModelList};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use std::sync::Arc;

fn card(app: &AppState) -> Result<ModelBody, ApiError> {
    if let Some(model) = app.model.loaded_embedder() {
        return Ok(ModelBody::of_embedder(
            &model.card.name,
            model.card.created,
            model.embedder.info(),
        ));
    }
    let model = app.model.get()?;
    Ok(ModelBody::from_core(&model.name, model.created, &model.llm))
}

/// The loaded models.
///
/// # Errors
/// 503 while loading.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub async fn list(State(app): State<Arc<AppState>>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(ModelList { object: "list", data: vec![card(&app)?] }))
}

/// One model; its id may contain slashes.
///
/// # Errors
/// 404 for another model than the loaded one, 503 while loading.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "models", params(("id" = String, Path, description = "A model's id, or `default`")),
    responses((status = 200, body = ModelBody), (status = 404, body = ErrorResponse))
)]
pub async fn one(
    State(app): State<Arc<AppState>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelBody>, ApiError> {
    let card = card(&app)?;
    let Ok(Path(id)) = id else {
        return Err(ApiError::model_not_found("?", &card.id));
    };
    match app.model.loaded_embedder() {
        Some(model) => model.card.check_name(Some(&id))?,
        None => app.model.get()?.check_name(Some(&id))?,
    }
    Ok(Json(card))
}
