//! `/v1/completions` and `/v1/chat/completions`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{App, beside, body, json, lost};
use crate::ApiError;
use crate::answer::{Answer, Style};
use crate::engine::{Client, Job, Piece};
use crate::request::Request;

pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    complete(Style::Completion, app, client, request).await
}

pub(super) async fn chat(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    complete(Style::Chat, app, client, request).await
}

async fn complete(
    style: Style,
    app: Arc<App>,
    client: Client,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    app.check_open()?;
    let began = Instant::now();
    let fields = body(request, &app).await?;
    let request = beside(&app, move |app| match style {
        Style::Completion => Request::completion(&fields, &app.catalog, &app.settings),
        Style::Chat => Request::chat(&fields, &app.catalog, &app.settings),
    })
    .await?;
    let pieces = submit(&app, &client, &request, began)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let stream = request.common.stream;
    let answer = Answer::new(style, request, created);
    if stream {
        started(Events { app, answer, pieces, over: false }).await
    } else {
        whole(&app, answer, pieces).await
    }
}

/// Sends one job for each prompt.
pub(super) fn submit(
    app: &App,
    client: &Client,
    request: &Request,
    began: Instant,
) -> Result<UnboundedReceiver<Piece>, ApiError> {
    let common = &request.common;
    // Everything is checked before the first job is sent: a request is taken as a whole or not at all.
    let longest = request.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
    app.engine.check_memory(&common.weights, common.n, longest + common.config.max_new_tokens)?;
    let tickets: Vec<_> =
        request.prompts.iter().map(|_| app.engine.ticket(common.n)).collect::<Result<_, _>>()?;
    let (sender, pieces) = unbounded_channel();
    let label = app.catalog.label(&common.weights);
    for ((index, prompt), ticket) in request.prompts.iter().enumerate().zip(tickets) {
        app.metrics.prompt(label, prompt.ids.len());
        app.engine.send(Job {
            client: client.clone(),
            prompt: prompt.ids.clone(),
            weights: common.weights.clone(),
            config: common.config.clone(),
            first: index * common.n,
            n: common.n,
            details: request.details,
            pieces: sender.clone(),
            began,
            ticket,
        })?;
    }
    Ok(pieces)
}

async fn whole(
    app: &App,
    mut answer: Answer,
    mut pieces: UnboundedReceiver<Piece>,
) -> Result<Response, ApiError> {
    while !answer.ended() {
        // The channel closes early if the engine is gone.
        answer.take(pieces.recv().await.ok_or_else(|| lost(app))?)?;
    }
    Ok(json(StatusCode::OK, &answer.whole(&app.catalog)))
}

/// A stream of server-sent events. It is pulled by the connection, so a slow reader holds up nobody but itself.
struct Events {
    app: Arc<App>,
    answer: Answer,
    pieces: UnboundedReceiver<Piece>,
    over: bool,
}

/// Waits for the first piece, so that a request that fails at once gets a status that says so.
async fn started(mut events: Events) -> Result<Response, ApiError> {
    let piece = events.pieces.recv().await.ok_or_else(|| lost(&events.app))?;
    let about = events.answer.take(piece)?;
    let first = about.map(|choice| events.chunk(choice)).collect::<String>();
    let mut response = Body::new(Streamed { events, first: Some(first) }).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would otherwise collect the pieces.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Events {
    fn chunk(&mut self, choice: usize) -> String {
        self.answer.chunk(choice, &self.app.catalog).map_or_else(String::new, |chunk| event(&chunk))
    }

    fn end(&mut self) -> String {
        self.over = true;
        let usage = self.answer.last_chunk().map_or_else(String::new, |chunk| event(&chunk));
        usage + "data: [DONE]\n\n"
    }

    /// What to send for a piece, or for the loss of the engine.
    fn next(&mut self, piece: Option<Piece>) -> String {
        let taken = piece.ok_or_else(|| lost(&self.app)).and_then(|piece| self.answer.take(piece));
        match taken {
            Ok(about) => about.map(|choice| self.chunk(choice)).collect(),
            Err(error) => {
                self.over = true;
                event(&error.body())
            }
        }
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The body of a stream.
struct Streamed {
    events: Events,
    first: Option<String>,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        loop {
            if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
                return frame(first);
            }
            if self.events.over {
                return Poll::Ready(None);
            }
            if self.events.answer.ended() {
                return frame(self.events.end());
            }
            let Poll::Ready(piece) = self.events.pieces.poll_recv(context) else { return Poll::Pending };
            let text = self.events.next(piece);
            if !text.is_empty() {
                return frame(text);
            }
        }
    }
}
