//! `/tokenize`, `/detokenize`, `/tokenizer_info`: the tokenizer for clients that have none.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::body::read_body;
use crate::api_error::ApiError;
use crate::app::App;
use crate::json_response::json_response;
use crate::request::{Fields, conversation, expected, ids, values};

/// `{"prompt", "add_special_tokens"}`, or `{"messages"}`, to `{"tokens"}`. Special tokens in the text are read as such.
pub(super) async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let body = read_body(request, &app.settings).await?;
    let answer = app
        .run_blocking(move |app| {
            let fields = Fields::parse(&body)?;
            let ids = if fields.get("messages").is_some() {
                let (weights, _) = values(&fields, &app.catalog, fields.text("model")?)?;
                conversation(&fields, &app.catalog, &weights)?.ids
            } else {
                let text = fields.text("prompt")?.ok_or_else(|| expected("prompt", "a string"))?;
                let special =
                    fields.get("add_special_tokens").is_none() || fields.flag("add_special_tokens")?;
                let encoded = app.catalog.tokenizer().encode(text, special);
                encoded.map_err(|_| ApiError::invalid("prompt", "the prompt cannot be tokenized"))?
            };
            Ok(json!({"tokens": ids, "count": ids.len(), "max_model_len": app.catalog.context()}))
        })
        .await?;
    Ok(json_response(StatusCode::OK, &answer))
}

/// `{"tokens"}` to `{"prompt"}`.
pub(super) async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let body = read_body(request, &app.settings).await?;
    let answer = app
        .run_blocking(move |app| {
            let fields = Fields::parse(&body)?;
            let wanted = || expected("tokens", "a list of token ids of the model");
            let ids = fields.get("tokens").and_then(ids).ok_or_else(wanted)?;
            if ids.iter().any(|&id| id as usize >= app.catalog.vocab().size()) {
                return Err(wanted());
            }
            let text = app.catalog.tokenizer().decode(&ids, false).map_err(|_| wanted())?;
            Ok(json!({"prompt": text}))
        })
        .await?;
    Ok(json_response(StatusCode::OK, &answer))
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
