//! Paths and their handlers.

mod body;
mod complete;
mod engine_error;
mod explain;
mod page;
mod stream;
mod tokens;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::json;

use crate::api_error::ApiError;
use crate::app::App;
use crate::json_response::json_response;
use crate::security::guard;

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/completions", post(complete::completions))
        .route("/v1/chat/completions", post(complete::chat))
        .route("/v1/explain", post(explain::explain))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/tokenizer_info", get(tokens::tokenizer_info))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .merge(page::router())
        .fallback(async || ApiError::no_page())
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn models(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &app.catalog.list())
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let described = app.catalog.describe(&id).ok_or_else(|| ApiError::no_model(&id))?;
    Ok(json_response(StatusCode::OK, &described))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

async fn health(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.check_open()?;
    Ok(json_response(StatusCode::OK, &json!({"status": "ok"})))
}
