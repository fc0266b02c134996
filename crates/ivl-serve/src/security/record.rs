//! One line of the access log for each request, and the count of those whose clients went away.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::app::App;
use crate::metrics::Metrics;

/// The status in the log of a request whose client went away before the end of the answer, as nginx has it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// A request on its way. When the last part of the server that works on it has dropped it, it is written to the log.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    id: HeaderValue,
    method: Method,
    path: &'static str,
    peer: IpAddr,
    began: Instant,
    metrics: Arc<Metrics>,
    logs: bool,
    /// 0 until there is one.
    status: AtomicU16,
    streams: AtomicBool,
    complete: AtomicBool,
}

impl RequestRecord {
    pub(super) fn new(
        app: &App,
        method: &Method,
        path: &'static str,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Self {
        let own = headers.get("x-request-id").filter(|id| {
            id.len() <= LONGEST_ID && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        let fresh = || {
            HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()))
                .expect("hexadecimal digits are a header")
        };
        Self {
            id: own.cloned().unwrap_or_else(fresh),
            method: method.clone(),
            path,
            peer,
            began: Instant::now(),
            metrics: app.metrics.clone(),
            logs: app.settings.access_log,
            status: AtomicU16::new(0),
            streams: AtomicBool::new(false),
            complete: AtomicBool::new(false),
        }
    }

    /// The id that client and log share.
    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// Takes note of the status. That is the end of the request, unless it [streams](Self::streams).
    pub(super) fn answered(&self, status: StatusCode) {
        self.metrics.request(self.path, status.as_u16());
        self.status.store(status.as_u16(), Ordering::Relaxed);
        if !self.streams.load(Ordering::Relaxed) {
            self.complete.store(true, Ordering::Relaxed);
        }
    }

    /// The answer goes on after its status.
    pub(crate) fn streams(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// The end of a stream was sent.
    pub(crate) fn completed(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let complete = self.complete.load(Ordering::Relaxed);
        if !complete {
            self.metrics.cancelled(self.path);
        }
        if self.logs {
            let status = if complete { self.status.load(Ordering::Relaxed) } else { CLIENT_CLOSED_REQUEST };
            let id = self.id.to_str().expect("ASCII was checked");
            let line = format!(
                "{} {} {} {status} {:.3}s {id}\n",
                self.peer,
                self.method,
                self.path,
                self.began.elapsed().as_secs_f64()
            );
            // A log that cannot be written does not stop the server.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }
}
