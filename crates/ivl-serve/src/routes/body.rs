//! Bodies of requests within limits of size and time.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use futures_util::StreamExt;

use crate::api_error::ApiError;
use crate::settings::Settings;

/// Reads a body.
///
/// # Errors
/// [`ApiError::too_large`] beyond `max_body` bytes, [`ApiError::too_slow`] after `client_timeout`, [`ApiError::malformed`]
/// for chunks that are not valid.
pub(super) async fn read_body(request: Request, settings: &Settings) -> Result<Vec<u8>, ApiError> {
    let (body, limit) = (request.into_body(), settings.max_body);
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    let read = tokio::time::timeout(settings.client_timeout, collect(body, limit)).await;
    read.map_err(|_| ApiError::too_slow())?
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| ApiError::malformed("the body breaks off or is not in valid chunks"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
