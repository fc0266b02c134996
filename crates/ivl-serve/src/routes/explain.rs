//! `/v1/explain`: what values change in a given text, token by token, together and each by itself.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use ivl_core::decode::GenerateConfig;
use serde_json::{Value, json as object};

use super::{App, beside, body, complete, json, lost};
use crate::ApiError;
use crate::answer::explained;
use crate::engine::{Client, Details, Piece};
use crate::request::{Common, Prompt, Request, conversation, values};

/// Reads `prompt` (text or token ids) or `messages`, with `model` and `ivl` as in a completion.
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    app.check_open()?;
    let began = Instant::now();
    let fields = body(request, &app).await?;
    let request = beside(&app, move |app| {
        let catalog = &app.catalog;
        let model = fields.text("model")?;
        let (weights, _) = values(&fields, catalog, model)?;
        let prompt = if fields.get("messages").is_some() {
            conversation(&fields, catalog, &weights)?
        } else {
            Prompt::read_all(fields.get("prompt"), 1, catalog)?.remove(0)
        };
        catalog.check_read(&prompt.text, &weights)?;
        let model = model.unwrap_or(catalog.base()).to_owned();
        let config = GenerateConfig { max_new_tokens: 0, ..GenerateConfig::default() };
        let common = Common {
            model,
            weights,
            explain: true,
            config,
            max_tokens: Some(0),
            n: 1,
            stream: false,
            include_usage: false,
        };
        let details = Details { logprobs: None, prompt: true, explain: true };
        Ok(Request { common, prompts: vec![prompt], echo: true, details })
    })
    .await?;
    let mut pieces = complete::submit(&app, &client, &request, began)?;
    loop {
        match pieces.recv().await.ok_or_else(|| lost(&app))? {
            Piece::Prompt { tokens, .. } => {
                let (catalog, common) = (&app.catalog, &request.common);
                let names = catalog.used(&common.weights);
                let weights = common.weights.iter().filter(|weight| **weight != 0.0);
                let values = names.iter().zip(weights);
                let values: Vec<Value> =
                    values.map(|(name, alpha)| object!({"name": name, "alpha": alpha})).collect();
                let tokens: Vec<Value> =
                    tokens.iter().map(|token| explained(catalog.vocab(), token, &names)).collect();
                let answer = object!({
                    "object": "explanation", "model": common.model, "values": values, "tokens": tokens,
                });
                return Ok(json(StatusCode::OK, &answer));
            }
            Piece::Token { .. } => {}
            Piece::Failed(_) => return Err(ApiError::internal()),
        }
    }
}
