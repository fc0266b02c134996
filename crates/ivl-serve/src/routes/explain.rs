//! `/v1/explain`: what values change in a given text, token by token, together and each by itself.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::body::read_body;
use super::complete::submit;
use crate::answer::explained;
use crate::api_error::ApiError;
use crate::app::App;
use crate::catalog::Catalog;
use crate::engine::{Client, EngineEvent, OutputOptions, Scored};
use crate::json_response::json_response;
use crate::request::{CompletionParams, Fields, Prompt, Request, conversation, values};

/// Reads `prompt` (text or token ids) or `messages`, with `model` and `ivl` as in a completion.
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    app.check_open()?;
    let began = Instant::now();
    let body = read_body(request, &app.settings).await?;
    let request = app.run_blocking(move |app| read_request(&Fields::parse(&body)?, &app.catalog)).await?;
    let mut events = submit(&app, &client, &request, began)?;
    loop {
        match events.recv().await.ok_or_else(|| app.engine_gone())? {
            EngineEvent::Prompt { tokens, .. } => {
                let answer = || explanation(&tokens, &request.params, &app.catalog);
                return Ok(block_in_place(|| json_response(StatusCode::OK, &answer())));
            }
            EngineEvent::Token { .. } => {}
            EngineEvent::Failed(error) => return Err(error.into()),
        }
    }
}

/// A request that only reads.
fn read_request(fields: &Fields, catalog: &Catalog) -> Result<Request, ApiError> {
    let model = fields.text("model")?;
    let (weights, _) = values(fields, catalog, model)?;
    let prompt = if fields.get("messages").is_some() {
        conversation(fields, catalog, &weights)?
    } else {
        Prompt::read_all(fields.get("prompt"), 1, catalog)?.remove(0)
    };
    prompt.check_readable(&weights, catalog)?;
    let params = CompletionParams::reading(model.unwrap_or(catalog.base()), weights);
    let output = OutputOptions { echo: true, explain: true, ..OutputOptions::default() };
    Ok(Request { params, prompts: vec![prompt], echo: true, output })
}

fn explanation(tokens: &[Scored], params: &CompletionParams, catalog: &Catalog) -> Value {
    let names = catalog.used(&params.weights);
    let weights = params.weights.iter().filter(|weight| **weight != 0.0);
    let values = names.iter().zip(weights).map(|(name, alpha)| json!({"name": name, "alpha": alpha}));
    let tokens = tokens.iter().map(|token| explained(catalog.vocab(), token, &names));
    json!({
        "object": "explanation", "model": params.model, "values": values.collect::<Vec<_>>(),
        "tokens": tokens.collect::<Vec<_>>(),
    })
}
