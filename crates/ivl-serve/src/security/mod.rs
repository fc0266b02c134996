//! Who may send requests: clients with a key, and no pages of other sites.

mod forwarded;
mod origin;
mod record;

pub(crate) use record::RequestRecord;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use self::forwarded::client_address;
use self::origin::Origins;
use crate::api_error::ApiError;
use crate::app::App;
use crate::engine::Client;

/// Paths that need no key: they tell only that the server runs, and what its page looks like.
const PUBLIC: [&str; 4] = ["/", "/page.css", "/page.js", "/health"];

/// The address of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Runs before every handler: refuses clients without a key and pages of other sites, tells handlers who the client is,
/// counts requests and sets headers.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = known_path(request.uri());
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    let peer = client_address(peer, request.headers(), &app.settings.trusted_proxies);
    let record = Arc::new(RequestRecord::new(&app, request.method(), path, peer, request.headers()));
    let origins = Origins::of(request.headers());
    let shared = origins.shared_with(&app.settings).cloned();
    let mut response = if shared.is_some() && request.method() == Method::OPTIONS {
        origin::preflight()
    } else {
        match admit(&app, &request, path, peer) {
            Ok(client) => {
                request.extensions_mut().insert(client);
                request.extensions_mut().insert(record.clone());
                next.run(request).await
            }
            Err(error) => error.into_response(),
        }
    };
    record.answered(response.status());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("x-request-id"), record.id().clone());
    origin::mark(headers, shared);
    response
}

fn admit(app: &App, request: &Request, path: &str, peer: IpAddr) -> Result<Client, ApiError> {
    let headers = request.headers();
    Origins::of(headers).check(&app.settings, app.keys.is_empty())?;
    if app.keys.is_empty() {
        return Ok(Client::Address(peer));
    }
    let shown = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let key = match shown.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => b"",
    };
    match app.keys.find(key) {
        Some(digest) => Ok(Client::Key(digest)),
        None if PUBLIC.contains(&path) => Ok(Client::Address(peer)),
        None => Err(ApiError::unauthorized()),
    }
}

/// The path for metrics and log: clients cannot fill the memory with paths of their own.
fn known_path(uri: &Uri) -> &'static str {
    const KNOWN: [&str; 12] = [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/explain",
        "/tokenize",
        "/detokenize",
        "/tokenizer_info",
        "/v1/models",
        "/metrics",
        "/health",
        "/",
        "/page.css",
        "/page.js",
    ];
    KNOWN.into_iter().find(|known| *known == uri.path()).unwrap_or("other")
}
