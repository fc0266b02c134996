//! Who may send requests: clients with a key, and no pages of other sites.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api_error::ApiError;
use crate::app::App;
use crate::engine::Client;

/// Paths that need no key: they tell only that the server runs, and what its page looks like.
const PUBLIC: [&str; 4] = ["/", "/page.css", "/page.js", "/health"];

/// Names under which this machine is reached from itself.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The address of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Runs before every handler: refuses clients without a key, tells handlers who the client is, counts requests and sets
/// headers.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = known_path(request.uri());
    let mut response = match admit(&app, &request, path) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    app.metrics.request(path, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

fn admit(app: &App, request: &Request, path: &str) -> Result<Client, ApiError> {
    let headers = request.headers();
    let address = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    check_origin(headers, app.settings.host, app.keys.is_empty())?;
    if app.keys.is_empty() {
        return Ok(Client::Address(address));
    }
    let shown = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let key = match shown.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => b"",
    };
    match app.keys.find(key) {
        Some(digest) => Ok(Client::Key(digest)),
        None if PUBLIC.contains(&path) => Ok(Client::Address(address)),
        None => Err(ApiError::unauthorized()),
    }
}

/// A browser says which site a script is from; scripts of other sites are refused. Without a key, a server on
/// loopback also wants to be called by a local name: else a site could make its own name lead here.
fn check_origin(headers: &HeaderMap, host: IpAddr, keyless: bool) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let called = text(header::HOST);
    if let Some(origin) = text(header::ORIGIN) {
        let site = origin.split_once("://").map_or(origin, |(_, site)| site);
        if called != Some(site) {
            return Err(ApiError::foreign());
        }
    }
    if keyless
        && host.is_loopback()
        && let Some(called) = called
    {
        let name = match called.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => called,
        };
        if !LOCAL_NAMES.contains(&name) && !name.parse::<IpAddr>().is_ok_and(|ip| ip == host) {
            return Err(ApiError::foreign());
        }
    }
    Ok(())
}

/// The path for the metrics: strangers cannot fill the memory with paths of their own.
fn known_path(uri: &Uri) -> &'static str {
    const KNOWN: [&str; 13] = [
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
        "other",
    ];
    KNOWN.into_iter().find(|known| *known == uri.path()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_other_sites_are_refused() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let check = |host: &str, origin: Option<&str>, address, keyless| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            }
            check_origin(&headers, address, keyless).is_ok()
        };
        assert!(check("127.0.0.1:8080", None, loopback, true));
        assert!(check("localhost:8080", Some("http://localhost:8080"), loopback, true));
        assert!(!check("localhost:8080", Some("http://evil.example"), loopback, true));
        assert!(!check("localhost:8080", Some("null"), loopback, false));
        assert!(
            !check("evil.example:8080", Some("http://evil.example:8080"), loopback, true),
            "a name that leads here"
        );
        assert!(check("models.example", None, loopback, false), "behind a proxy, with a key");
        assert!(check("models.example", None, IpAddr::from([0, 0, 0, 0]), true), "open on purpose");
    }
}
