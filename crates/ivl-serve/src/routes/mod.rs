//! Addresses and what answers there.

mod complete;
mod explain;
mod page;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::{Value, json as object};

use crate::engine::Engine;
use crate::request::Fields;
use crate::security::{Keys, guard};
use crate::{ApiError, Catalog, Metrics, Settings};

/// What every handler sees.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) stopping: AtomicBool,
}

impl App {
    /// Refuses new work once the server is on its way down.
    pub(crate) fn check_open(&self) -> Result<(), ApiError> {
        if self.stopping.load(Ordering::Relaxed) { Err(ApiError::stopping()) } else { Ok(()) }
    }
}

/// The error for a request whose engine has gone silent.
pub(crate) fn lost(app: &App) -> ApiError {
    if app.stopping.load(Ordering::Relaxed) { ApiError::stopping() } else { ApiError::internal() }
}

/// All addresses.
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

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = (status, value.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads a body within the limits of size and time.
pub(crate) async fn body(request: Request, app: &App) -> Result<Fields, ApiError> {
    let bytes = read(request.into_body(), app.settings.max_body, app.settings.client_timeout).await?;
    Fields::parse(&bytes)
}

async fn read(body: Body, limit: usize, timeout: Duration) -> Result<Bytes, ApiError> {
    let announced = http_body_size(&body);
    if announced > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    let read = tokio::time::timeout(timeout, to_bytes(body, limit)).await;
    read.map_err(|_| ApiError::too_slow())?.map_err(|_| ApiError::too_large(limit))
}

fn http_body_size(body: &Body) -> u64 {
    hyper::body::Body::size_hint(body).lower()
}

/// Runs work that takes longer than a blink beside the threads that answer. A panic in it is an error of the request.
pub(crate) async fn beside<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let held = app.clone();
    tokio::task::spawn_blocking(move || work(&held)).await.unwrap_or_else(|_| {
        app.metrics.panicked();
        Err(ApiError::internal())
    })
}

async fn models(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, &app.catalog.list())
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let described = app.catalog.describe(&id).ok_or_else(|| ApiError::no_model(&id))?;
    Ok(json(StatusCode::OK, &described))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

async fn health(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.check_open()?;
    Ok(json(StatusCode::OK, &object!({"status": "ok"})))
}
