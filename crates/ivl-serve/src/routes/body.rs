//! Bodies of requests within limits of size and time.

use axum::body::{Bytes, HttpBody, to_bytes};
use axum::extract::Request;

use crate::api_error::ApiError;
use crate::settings::Settings;

/// Reads a body.
///
/// # Errors
/// [`ApiError::too_large`] beyond `max_body` bytes, [`ApiError::too_slow`] after `client_timeout`.
pub(super) async fn read_body(request: Request, settings: &Settings) -> Result<Bytes, ApiError> {
    let (body, limit) = (request.into_body(), settings.max_body);
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    let read = tokio::time::timeout(settings.client_timeout, to_bytes(body, limit)).await;
    read.map_err(|_| ApiError::too_slow())?.map_err(|_| ApiError::too_large(limit))
}
