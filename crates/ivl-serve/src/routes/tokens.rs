//! `/tokenize`, `/detokenize`, `/tokenizer_info`: the tokenizer for clients that have none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::body::read_body;
use crate::api_error::ApiError;
use crate::app::App;
use crate::catalog::Catalog;
use crate::engine::Client;
use crate::json_response::json_response;
use crate::request::{Fields, conversation, expected, ids, values};

/// Bytes of a text that is tokenized for a client, unless the context of the model needs more.
const LARGEST_TEXT: usize = 1 << 20;

/// Ids that are turned into text, unless the context of the model has more.
const MOST_IDS: usize = 1 << 18;

/// `{"prompt", "add_special_tokens"}`, or `{"messages"}`, to `{"tokens"}`. Special tokens in the text are read as such.
pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, ApiError> {
    on_body(&app, &client, request, |fields, catalog| {
        let ids = if fields.get("messages").is_some() {
            let (weights, _) = values(fields, catalog, fields.text("model")?)?;
            conversation(fields, catalog, &weights)?.ids
        } else {
            let text = fields.text("prompt")?.ok_or_else(|| expected("prompt", "a string"))?;
            let most = LARGEST_TEXT.max(16 * catalog.context());
            if text.len() > most {
                return Err(expected(
                    "prompt",
                    &format!("at most {most} bytes, in several requests if need be"),
                ));
            }
            let special = fields.get("add_special_tokens").is_none() || fields.flag("add_special_tokens")?;
            let encoded = catalog.tokenizer().encode(text, special);
            encoded.map_err(|_| ApiError::invalid("prompt", "the prompt cannot be tokenized"))?
        };
        Ok(json!({"tokens": ids, "count": ids.len(), "max_model_len": catalog.context()}))
    })
    .await
}

/// `{"tokens"}` to `{"prompt"}`.
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, ApiError> {
    on_body(&app, &client, request, |fields, catalog| {
        let most = MOST_IDS.max(4 * catalog.context());
        let wanted = || expected("tokens", &format!("a list of at most {most} token ids of the model"));
        let ids = fields.get("tokens").and_then(ids).filter(|ids| ids.len() <= most).ok_or_else(wanted)?;
        if ids.iter().any(|&id| id as usize >= catalog.vocab().size()) {
            return Err(wanted());
        }
        let text = catalog.tokenizer().decode(&ids, false).map_err(|_| wanted())?;
        Ok(json!({"prompt": text}))
    })
    .await
}

/// Answers a body with JSON. The request has a place in the queue as a text has, so that one client cannot start without
/// end.
async fn on_body(
    app: &Arc<App>,
    client: &Client,
    request: Request,
    answer: impl FnOnce(&Fields, &Catalog) -> Result<Value, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    app.check_open()?;
    let permit = app.engine.reserve(client, 1)?;
    let body = read_body(request, &app.settings).await?;
    app.run_blocking(move |app| {
        let _permit = permit;
        Ok(json_response(StatusCode::OK, &answer(&Fields::parse(&body)?, &app.catalog)?))
    })
    .await
}

/// Special tokens and the base's chat template.
pub(super) async fn tokenizer_info(State(app): State<Arc<App>>) -> Response {
    let mut info = Map::new();
    for role in ["bos_token", "eos_token", "pad_token", "unk_token"] {
        let token = app.catalog.tokenizer().special_token(role);
        info.insert(role.to_owned(), token.map_or(Value::Null, Value::from));
    }
    let none = vec![0.0; app.catalog.values().len()];
    let template = app.catalog.chat_template(&none).map_or(Value::Null, |template| template.source().into());
    info.insert("chat_template".to_owned(), template);
    info.insert("vocab_size".to_owned(), app.catalog.vocab().size().into());
    info.insert("max_model_len".to_owned(), app.catalog.context().into());
    json_response(StatusCode::OK, &Value::Object(info))
}
