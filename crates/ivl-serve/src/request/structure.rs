//! Fields that say what form the answer has: `response_format`, `structured_outputs` and `guided_*`.

use serde_json::{Value, json};

use super::fields::{Fields, expected};
use crate::api_error::ApiError;
use crate::constraint::GrammarSource;

/// Bytes of a schema, an expression or a grammar.
const LARGEST_GRAMMAR: usize = 256 << 10;

/// Texts to choose from.
const MOST_CHOICES: usize = 1024;

/// The grammar that a request asks for, and the field that says so.
///
/// # Errors
/// [`ApiError::invalid`] for a field of the wrong kind, and for two that exclude each other.
pub(super) fn grammar_source(fields: &Fields) -> Result<Option<(&'static str, GrammarSource)>, ApiError> {
    let mut found = Vec::new();
    found.extend(response_format(fields)?.map(|source| ("response_format", source)));
    let guided = [
        ("guided_json", "json"),
        ("guided_regex", "regex"),
        ("guided_choice", "choice"),
        ("guided_grammar", "grammar"),
    ];
    for (name, kind) in guided {
        if let Some(value) = fields.get(name) {
            found.push((name, source(name, kind, value)?));
        }
    }
    if let Some(structured) = fields.object("structured_outputs")? {
        for (kind, value) in structured.into_map() {
            let name = "structured_outputs";
            match kind.as_str() {
                _ if value.is_null() => {}
                "json" | "regex" | "choice" | "grammar" => found.push((name, source(name, &kind, &value)?)),
                "json_object" if value == true => found.push((name, any_object())),
                "json_object" if value == false => {}
                _ => return Err(ApiError::invalid(name, format!("`{kind}` is not supported"))),
            }
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(ApiError::invalid(
            found[1].0,
            "the answer can have one form only; another field gives one too",
        )),
    }
}

fn response_format(fields: &Fields) -> Result<Option<GrammarSource>, ApiError> {
    let name = "response_format";
    let Some(format) = fields.object(name)? else { return Ok(None) };
    match format.text("type")? {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(any_object())),
        Some("json_schema") => {
            let schema = format.object("json_schema")?.and_then(|schema| schema.get("schema").cloned());
            let schema = schema.ok_or_else(|| expected(name, "an object with `json_schema.schema`"))?;
            source(name, "json", &schema).map(Some)
        }
        _ => Err(expected(name, "of type `text`, `json_object` or `json_schema`")),
    }
}

fn any_object() -> GrammarSource {
    GrammarSource::JsonSchema(json!({"type": "object"}))
}

fn source(name: &str, kind: &str, value: &Value) -> Result<GrammarSource, ApiError> {
    let size = value.to_string().len();
    if size > LARGEST_GRAMMAR {
        return Err(ApiError::invalid(
            name,
            format!("`{name}` has {size} bytes, expected at most {LARGEST_GRAMMAR}"),
        ));
    }
    let text = || value.as_str().map(str::to_owned).ok_or_else(|| expected(name, "a string"));
    match kind {
        "json" => match value {
            // vLLM takes a schema as a string as well.
            Value::String(schema) => {
                let schema = serde_json::from_str(schema).map_err(|_| expected(name, "a JSON schema"))?;
                Ok(GrammarSource::JsonSchema(schema))
            }
            Value::Object(_) | Value::Bool(_) => Ok(GrammarSource::JsonSchema(value.clone())),
            _ => Err(expected(name, "a JSON schema")),
        },
        "regex" => Ok(GrammarSource::Regex(text()?)),
        "choice" => {
            let wanted = || expected(name, &format!("a list of 1 to {MOST_CHOICES} strings"));
            let list = value.as_array().filter(|list| (1..=MOST_CHOICES).contains(&list.len()));
            let texts = list.ok_or_else(wanted)?.iter().map(|choice| choice.as_str().map(str::to_owned));
            Ok(GrammarSource::Choice(texts.collect::<Option<_>>().ok_or_else(wanted)?))
        }
        _ => Ok(GrammarSource::Lark(text()?)),
    }
}
