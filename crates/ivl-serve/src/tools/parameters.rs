//! The parameters of a function by its JSON schema.

use serde_json::{Map, Value};

/// What a parameter is, as far as writing it outside of JSON depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterKind {
    /// Written as it is.
    Text,
    /// Written as JSON.
    Json,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: ParameterKind,
    /// Its schema, with the definitions of the whole one.
    pub(super) schema: Value,
    pub(super) required: bool,
}

/// The function of a tool.
pub(super) fn function(tool: &Value) -> &Value {
    &tool["function"]
}

/// The name of a tool's function.
pub(super) fn function_name(tool: &Value) -> &str {
    function(tool)["name"].as_str().unwrap_or_default()
}

/// The schema of all parameters; of an object with anything in it, where there is none.
pub(super) fn schema(tool: &Value) -> Value {
    match &function(tool)["parameters"] {
        Value::Object(schema) => Value::Object(schema.clone()),
        _ => serde_json::json!({ "type": "object", "properties": {} }),
    }
}

/// The parameters of a tool in the order of its schema.
pub(super) fn parameters(tool: &Value) -> Vec<Parameter> {
    let all = schema(tool);
    let required = all["required"].as_array().cloned().unwrap_or_default();
    let properties = all["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, schema): (String, Value)| Parameter {
        kind: kind(&schema),
        required: required.iter().any(|other| *other == name),
        schema: with_definitions(schema, &all),
        name,
    };
    properties.into_iter().map(parameter).collect()
}

/// A text is what the schema calls so, and what it says nothing about.
fn kind(schema: &Value) -> ParameterKind {
    let is_text = match (&schema["type"], &schema["enum"]) {
        (Value::String(kind), _) => kind == "string",
        (Value::Null, Value::Array(choices)) => choices.iter().all(Value::is_string),
        (Value::Null, _) => !["anyOf", "oneOf", "allOf", "$ref", "const", "properties", "items"]
            .iter()
            .any(|key| schema.get(key).is_some()),
        _ => false,
    };
    if is_text { ParameterKind::Text } else { ParameterKind::Json }
}

/// A part of a schema with what it may refer to.
fn with_definitions(mut part: Value, all: &Value) -> Value {
    if let Value::Object(part) = &mut part {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = all.get(key) {
                part.entry(key).or_insert_with(|| definitions.clone());
            }
        }
    }
    part
}

/// A value that was written outside of JSON, as its schema means it: `null`, a text, or JSON. What is no JSON is text.
pub(super) fn typed_value(text: &str, parameter: Option<&Parameter>) -> Value {
    if text.eq_ignore_ascii_case("null") {
        return Value::Null;
    }
    match parameter.map(|parameter| (parameter.kind, &parameter.schema["type"])) {
        Some((ParameterKind::Json, Value::String(kind))) if kind == "boolean" => {
            // Models that learned on Python write True.
            Value::from(text.trim().eq_ignore_ascii_case("true"))
        }
        Some((ParameterKind::Json, _)) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    }
}

/// Arguments by name, from names and texts.
pub(super) fn typed_arguments<'a>(
    tool: Option<&Value>,
    texts: impl Iterator<Item = (&'a str, &'a str)>,
) -> Map<String, Value> {
    let known = tool.map(parameters).unwrap_or_default();
    let typed = |(name, text): (&str, &str)| {
        let parameter = known.iter().find(|parameter| parameter.name == name);
        (name.to_owned(), typed_value(text, parameter))
    };
    texts.map(typed).collect()
}
