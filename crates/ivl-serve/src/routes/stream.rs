//! Answers as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::answer::Answer;
use crate::api_error::ApiError;
use crate::app::App;
use crate::engine::EngineEvent;

/// Starts a stream. It waits for the first event, so that a request that fails at once gets a status that says so. The
/// connection pulls the rest, so that a slow reader delays only itself.
pub(super) async fn stream(
    app: Arc<App>,
    answer: Answer,
    events: UnboundedReceiver<EngineEvent>,
) -> Result<Response, ApiError> {
    let mut source = EventSource { app, answer, events, ready: VecDeque::new(), over: false };
    source.advance().await?;
    let pieces = unfold(source, |mut source| async {
        let event = source.next().await?;
        Some((Ok::<_, Infallible>(event), source))
    });
    // Without it, proxies such as nginx collect the events.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((unbuffered, Sse::new(pieces)).into_response())
}

/// The events of a stream that are still to be sent.
struct EventSource {
    app: Arc<App>,
    answer: Answer,
    events: UnboundedReceiver<EngineEvent>,
    /// To be sent before the engine is heard again.
    ready: VecDeque<Event>,
    over: bool,
}

impl EventSource {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            if self.over {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                self.ready.push_back(event(&error.body()));
            }
        }
        self.ready.pop_front()
    }

    /// Turns the next report of the engine into events.
    async fn advance(&mut self) -> Result<(), ApiError> {
        let report = self.events.recv().await.ok_or_else(|| self.app.engine_gone())?;
        for choice in self.answer.take(report)? {
            self.ready.extend(self.answer.chunk(choice, &self.app.catalog).as_ref().map(event));
        }
        if self.answer.ended() {
            self.over = true;
            self.ready.extend(self.answer.last_chunk().as_ref().map(event));
            self.ready.push_back(Event::default().data("[DONE]"));
        }
        Ok(())
    }
}

fn event(value: &Value) -> Event {
    Event::default().data(value.to_string())
}
