//! `/v1/completions` and `/v1/chat/completions`.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::block_in_place;

use super::body::read_body;
use super::stream::stream;
use crate::answer::{Answer, Style};
use crate::api_error::ApiError;
use crate::app::App;
use crate::engine::{Client, EngineEvent, Job};
use crate::json_response::json_response;
use crate::request::{Fields, Request};
use crate::security::RequestRecord;

pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(record): Extension<Arc<RequestRecord>>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    complete(Style::Completion, app, client, record, request).await
}

pub(super) async fn chat(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(record): Extension<Arc<RequestRecord>>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    complete(Style::Chat, app, client, record, request).await
}

async fn complete(
    style: Style,
    app: Arc<App>,
    client: Client,
    record: Arc<RequestRecord>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    app.check_open()?;
    let began = Instant::now();
    let body = read_body(request, &app.settings).await?;
    let request = app
        .run_blocking(move |app| {
            let fields = Fields::parse(&body)?;
            match style {
                Style::Completion => Request::completion(&fields, &app.catalog, &app.settings),
                Style::Chat => Request::chat(&fields, &app.catalog, &app.settings),
            }
        })
        .await?;
    let events = submit(&app, &client, &request, began)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let streams = request.params.stream;
    let answer = Answer::new(style, request, created, &app.catalog);
    if streams { Ok(stream(app, record, answer, events)) } else { whole(&app, answer, events).await }
}

/// Sends one job for each prompt.
pub(super) fn submit(
    app: &App,
    client: &Client,
    request: &Request,
    began: Instant,
) -> Result<UnboundedReceiver<EngineEvent>, ApiError> {
    let params = &request.params;
    // All checks come before the first job, so that a request is accepted as a whole or not at all.
    let longest = request.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
    app.engine.check_memory(&params.weights, params.n, longest + params.config.max_new_tokens)?;
    let mut permits = app.engine.reserve(client, request.prompts.len() * params.n)?;
    let (sender, events) = unbounded_channel();
    let label = app.catalog.label(&params.weights);
    for (index, prompt) in request.prompts.iter().enumerate() {
        app.metrics.prompt(label, prompt.ids.len());
        app.engine.send(Job {
            client: client.clone(),
            prompt: prompt.ids.clone(),
            weights: params.weights.clone(),
            config: params.config.clone().seed(params.seed.unwrap_or_else(rand::random)),
            constraint: params.constraint.clone(),
            first: index * params.n,
            n: params.n,
            output: request.output,
            events: sender.clone(),
            began,
            permit: permits.split_off(params.n),
        })?;
    }
    Ok(events)
}

async fn whole(
    app: &App,
    mut answer: Answer,
    mut events: UnboundedReceiver<EngineEvent>,
) -> Result<Response, ApiError> {
    while !answer.ended() {
        // The channel closes early if the engine is gone.
        answer.take(events.recv().await.ok_or_else(|| app.engine_gone())?, &app.catalog)?;
    }
    // Log-probabilities of long prompts are megabytes: other requests are answered meanwhile.
    Ok(block_in_place(|| json_response(StatusCode::OK, &answer.whole(&app.catalog))))
}
