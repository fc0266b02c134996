//! Answers as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::block_in_place;

use crate::answer::Answer;
use crate::api_error::ApiError;
use crate::app::App;
use crate::engine::EngineEvent;
use crate::security::RequestRecord;

/// How often a stream that waits sends a comment, so that proxies do not take the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Starts a stream: its headers are sent at once, also while the request waits in the queue. The connection pulls the
/// events, so that a slow reader delays only itself.
pub(super) fn stream(
    app: Arc<App>,
    record: Arc<RequestRecord>,
    answer: Answer,
    events: UnboundedReceiver<EngineEvent>,
) -> Response {
    record.streams();
    let source = EventSource { app, record, answer, events, ready: VecDeque::new(), over: false };
    let pieces = unfold(source, |mut source| async {
        let event = source.next().await?;
        Some((Ok::<_, Infallible>(event), source))
    });
    // Without it, proxies such as nginx collect the events.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    (unbuffered, Sse::new(pieces)).into_response()
}

/// The events of a stream that are still to be sent.
struct EventSource {
    app: Arc<App>,
    record: Arc<RequestRecord>,
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
                self.record.completed();
                return None;
            }
            if let Err(error) = self.advance().await {
                self.over = true;
                self.ready.push_back(event(&error.body()));
            }
        }
        self.ready.pop_front()
    }

    fn take(&mut self, report: EngineEvent) -> Result<(), ApiError> {
        for choice in self.answer.take(report, &self.app.catalog)? {
            self.ready.extend(self.answer.chunk(choice, &self.app.catalog).as_ref().map(event));
        }
        Ok(())
    }

    /// Turns the next report of the engine into events.
    async fn advance(&mut self) -> Result<(), ApiError> {
        let Ok(report) = tokio::time::timeout(KEEP_ALIVE, self.events.recv()).await else {
            self.ready.push_back(Event::default().comment(""));
            return Ok(());
        };
        let report = report.ok_or_else(|| self.app.engine_gone())?;
        // The log-probabilities of a long prompt are megabytes: other requests are answered meanwhile.
        match matches!(report, EngineEvent::Prompt { .. }) {
            true => block_in_place(|| self.take(report))?,
            false => self.take(report)?,
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
