//! Which names the server may be called by, and which sites may call it from a browser.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api_error::ApiError;
use crate::settings::Settings;

/// Names under which this machine is reached from itself.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What a request says about where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origins<'a> {
    /// The name that the client called.
    host: Option<&'a HeaderValue>,
    /// The site whose script sends the request; only browsers say so.
    origin: Option<&'a HeaderValue>,
}

impl<'a> Origins<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        Self { host: headers.get(header::HOST), origin: headers.get(header::ORIGIN) }
    }

    /// The origin, if the settings share the API with it.
    pub(super) fn shared_with(self, settings: &Settings) -> Option<&'a HeaderValue> {
        let origin = self.origin?;
        let shared = |allowed: &String| {
            allowed == "*" || origin.as_bytes() == allowed.trim_end_matches('/').as_bytes()
        };
        settings.cors_origins.iter().any(shared).then_some(origin)
    }

    /// Refuses scripts of other sites. Without a key, a server on loopback must also be called by a local name or an
    /// allowed one: otherwise a site could let its own name lead here (DNS rebinding).
    pub(super) fn check(self, settings: &Settings, keyless: bool) -> Result<(), ApiError> {
        let text = |value: &'a HeaderValue| value.to_str().unwrap_or("?");
        let host = self.host.map(text);
        let allowed =
            |name: &str| settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if let Some(origin) = self.origin.map(text) {
            let site = origin.split_once("://").map_or(origin, |(_, site)| site);
            // A proxy may have put another name into `Host`.
            let own = host == Some(site) || allowed(without_port(site));
            if !own && self.shared_with(settings).is_none() {
                return Err(ApiError::foreign());
            }
        }
        if keyless
            && settings.host.is_loopback()
            && let Some(host) = host
        {
            let name = without_port(host);
            let local = LOCAL_NAMES.contains(&name)
                || name.parse().is_ok_and(|ip: std::net::IpAddr| ip == settings.host);
            if !local && !allowed(name) {
                return Err(ApiError::foreign_host(name));
            }
        }
        Ok(())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The answer to a browser that asks whether it may send a request to another site.
pub(super) fn preflight() -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST")),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, x-request-id"),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Tells browsers which sites may read an answer.
pub(super) fn mark(headers: &mut HeaderMap, shared: Option<HeaderValue>) {
    let policy = if shared.is_some() { "cross-origin" } else { "same-origin" };
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static(policy));
    if let Some(origin) = shared {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-request-id, retry-after"),
        );
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, keyless: bool, change: impl FnOnce(&mut Settings)) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        let mut settings = Settings::default();
        change(&mut settings);
        Origins::of(&headers).check(&settings, keyless).is_ok()
    }

    #[test]
    fn scripts_of_other_sites_are_refused() {
        assert!(check("127.0.0.1:8080", None, true, |_| ()));
        assert!(check("localhost:8080", Some("http://localhost:8080"), true, |_| ()));
        assert!(!check("localhost:8080", Some("http://evil.example"), true, |_| ()));
        assert!(!check("localhost:8080", Some("null"), false, |_| ()));
        let rebound = ("evil.example:8080", Some("http://evil.example:8080"));
        assert!(!check(rebound.0, rebound.1, true, |_| ()), "a name that leads here");
        assert!(check("models.example", None, false, |_| ()), "through a proxy, with a key");
        let open = |settings: &mut Settings| settings.host = [0, 0, 0, 0].into();
        assert!(check("models.example", None, true, open), "open on purpose");
    }

    #[test]
    fn allowed_hosts_and_sites_are_let_in() {
        let host = |settings: &mut Settings| settings.allowed_hosts = vec!["Models.example".to_owned()];
        assert!(check("models.example", None, true, host));
        assert!(
            check("127.0.0.1:8080", Some("https://models.example"), true, host),
            "a proxy that rewrites `Host`"
        );
        assert!(!check("other.example", None, true, host));
        assert!(!check("models.example", Some("https://evil.example"), true, host));
        let site = |settings: &mut Settings| settings.cors_origins = vec!["https://app.example".to_owned()];
        assert!(check("localhost:8080", Some("https://app.example"), true, site));
        assert!(!check("localhost:8080", Some("https://app.example.evil"), true, site));
        let any = |settings: &mut Settings| settings.cors_origins = vec!["*".to_owned()];
        assert!(check("localhost:8080", Some("https://any.example"), true, any));
        assert!(
            !check("evil.example", Some("https://any.example"), true, any),
            "the name is checked all the same"
        );
    }
}
