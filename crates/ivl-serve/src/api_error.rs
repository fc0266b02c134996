//! Errors as clients of the OpenAI API read them: a status and an object.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::json_response::json_response;

/// An answer that is an error. Its message is for the client: it names what was sent, never what is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// One sentence.
    pub(crate) message: String,
    /// The field of the request that is at fault.
    pub(crate) param: Option<String>,
    /// A word for programs.
    pub(crate) code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code }
    }

    /// A field that cannot be used as it is.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, None, message);
        Self { param: Some(param.to_owned()), ..error }
    }

    /// A body that is no request at all.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("malformed"), message)
    }

    /// A prompt that does not fit into the context.
    pub(crate) fn too_long(got: usize, limit: usize) -> Self {
        let message = format!(
            "the prompt has {got} tokens or more, but the context holds {limit} and at least one is for the answer"
        );
        Self { code: Some("context_length_exceeded"), ..Self::invalid("prompt", message) }
    }

    /// A model that is not here.
    pub(crate) fn no_model(id: &str) -> Self {
        let message = format!("the model `{id}` does not exist here; GET /v1/models lists those that do");
        let error = Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), message);
        Self { param: Some("model".to_owned()), ..error }
    }

    /// A path that is not here.
    pub(crate) fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, Some("not_found"), "there is nothing at this address")
    }

    /// A method that the path does not take.
    pub(crate) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Some("method_not_allowed"),
            "this address takes another method",
        )
    }

    /// No key, or a wrong one.
    pub(crate) fn unauthorized() -> Self {
        let message = "no valid API key was given; send it as `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    /// A request from a page of another site.
    pub(crate) fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Some("foreign_origin"),
            "requests from pages of other sites are refused",
        )
    }

    /// The server was called by a name that is not its own.
    pub(crate) fn foreign_host(name: &str) -> Self {
        let message = format!(
            "this server is not called `{name}`: without an API key it answers to local names and to those that it was \
             started with"
        );
        Self::new(StatusCode::FORBIDDEN, Some("foreign_host"), message)
    }

    /// A body over the limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the {limit} bytes that this server reads");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Some("body_too_large"), message)
    }

    /// A body that did not come in time.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Some("body_timeout"), "the body did not arrive in time")
    }

    /// Too much is waiting already.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Some("rate_limit_exceeded"), message)
    }

    /// The server is on its way down.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("shutting_down"), "the server is shutting down")
    }

    /// An internal error, whose details are not sent to clients.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Some("internal_error"),
            "the server failed on this request",
        )
    }

    /// No token could be chosen.
    pub(crate) fn no_token() -> Self {
        let message = "no token can be chosen: the model's logits are not finite, or the limits of the request leave none; another alpha, or \
                       fewer limits may help";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Some("no_finite_logit"), message)
    }

    /// The object of the OpenAI API.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 | 403 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
