//! Messages of a conversation, as users write them and as templates see them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One turn of a conversation. Fields beyond role and content (tool calls, names) are kept for the template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The role: `system`, `user`, `assistant`, ...
    pub role: String,
    /// The content: text, or a list of parts.
    #[serde(default)]
    pub content: Value,
    /// All other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The names of reasoning; templates read the first, those of gpt-oss the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The names of parts that are text.
const TEXT_PARTS: [&str; 3] = ["text", "input_text", "output_text"];

impl Message {
    /// A turn of plain text.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: Value::from(content), extra: Map::new() }
    }

    /// The variable that a template sees, as transformers 5 prepares it: a null field is absent, reasoning has all its names.
    /// Arguments of calls that are written as JSON, as in OpenAI's interface, are the object that templates expect.
    pub(super) fn variable(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("role".to_owned(), Value::from(self.role.as_str()));
        fields.insert("content".to_owned(), self.content.clone());
        fields.extend(self.extra.clone());
        fields.retain(|_, value| !value.is_null());
        if let Some(reasoning) = REASONING.iter().find_map(|name| fields.get(*name)).cloned() {
            fields.entry("thinking").or_insert_with(|| reasoning.clone());
            fields.insert("reasoning_content".to_owned(), reasoning);
        }
        if let Some(Value::Array(calls)) = fields.get_mut("tool_calls") {
            for call in calls {
                // With the function around them, or without.
                let call = if call["function"].is_object() { &mut call["function"] } else { call };
                parse_arguments(call);
            }
        }
        if let Some(call) = fields.get_mut("function_call") {
            parse_arguments(call);
        }
        Value::Object(fields)
    }

    /// The same message with every part that is text as `{"type": "text", "text": ..}`.
    pub(super) fn with_text_parts(&self) -> Self {
        let Value::Array(parts) = &self.content else { return self.clone() };
        let part = |part: &Value| match text_of_part(part) {
            Some(text) => json!({ "type": "text", "text": text }),
            None => part.clone(),
        };
        Self { content: parts.iter().map(part).collect(), ..self.clone() }
    }

    /// The kind of the first part that is no text, once text has its form.
    pub(super) fn other_part(&self) -> Option<&str> {
        let other = self.content.as_array()?.iter().find(|part| part["type"] != "text")?;
        Some(other["type"].as_str().unwrap_or("unknown"))
    }

    /// The same message without the parts that are no text.
    pub(super) fn without_other_parts(&self) -> Self {
        let Value::Array(parts) = &self.content else { return self.clone() };
        let texts = parts.iter().filter(|part| part["type"] == "text").cloned().collect();
        Self { content: Value::Array(texts), ..self.clone() }
    }

    /// The same message with the texts of its parts, one a line, in place of a list.
    pub(super) fn with_joined_parts(&self) -> Self {
        let Value::Array(parts) = &self.content else { return self.clone() };
        let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        Self { content: texts.join("\n").into(), ..self.clone() }
    }

    /// The texts of the content, without blank ones.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts: Vec<&str> = match &self.content {
            Value::String(text) => vec![text],
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => Vec::new(),
        };
        texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect()
    }

    /// Whether it calls a tool.
    pub(super) fn has_calls(&self) -> bool {
        let is_some = |field: &str| match self.extra.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Array(calls)) => !calls.is_empty(),
            Some(_) => true,
        };
        is_some("tool_calls") || is_some("function_call")
    }

    /// The same message with `mark` as the name of every function that it calls, and as their one argument.
    pub(super) fn with_marked_calls(&self, mark: &str) -> Self {
        let mut renamed = self.clone();
        if let Some(Value::Array(calls)) = renamed.extra.get_mut("tool_calls") {
            for call in calls {
                mark_call(call, mark);
            }
        }
        if let Some(call) = renamed.extra.get_mut("function_call") {
            mark_call(call, mark);
        }
        renamed
    }
}

fn mark_call(call: &mut Value, mark: &str) {
    let call = if call["function"].is_object() { &mut call["function"] } else { call };
    if let Some(fields) = call.as_object_mut() {
        fields.insert("name".to_owned(), mark.into());
        fields.insert("arguments".to_owned(), json!({ mark: mark }));
    }
}

fn parse_arguments(call: &mut Value) {
    let Some(fields) = call.as_object_mut() else { return };
    let parsed =
        fields.get("arguments").and_then(Value::as_str).map(serde_json::from_str::<Map<String, Value>>);
    if let Some(Ok(arguments)) = parsed {
        fields.insert("arguments".to_owned(), Value::Object(arguments));
    }
}

fn text_of_part(part: &Value) -> Option<&str> {
    if let Some(text) = part.as_str() {
        return Some(text);
    }
    let kind = part["type"].as_str();
    let field = if kind == Some("refusal") { "refusal" } else { "text" };
    let is_text = kind.is_none_or(|kind| TEXT_PARTS.contains(&kind) || kind == "refusal");
    part[field].as_str().filter(|_| is_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: Value) -> Message {
        serde_json::from_value(json).expect("a message")
    }

    #[test]
    fn null_fields_are_absent_and_arguments_are_objects() {
        let call = json!({ "function": { "name": "f", "arguments": "{\"x\": [1]}" } });
        let seen =
            message(json!({ "role": "assistant", "content": null, "name": null, "tool_calls": [call] }))
                .variable();
        let call = json!({ "function": { "name": "f", "arguments": { "x": [1] } } });
        assert_eq!(seen, json!({ "role": "assistant", "tool_calls": [call] }));
        let seen = message(
            json!({ "role": "assistant", "function_call": { "name": "f", "arguments": "not json" } }),
        )
        .variable();
        assert_eq!(seen["function_call"]["arguments"], "not json");
        assert_eq!(
            message(json!({ "role": "user", "tool_calls": null })).variable(),
            json!({ "role": "user" })
        );
    }

    #[test]
    fn reasoning_has_all_its_names() {
        let seen = message(json!({ "role": "assistant", "content": "a", "reasoning": "r" })).variable();
        assert_eq!((&seen["thinking"], &seen["reasoning_content"]), (&json!("r"), &json!("r")));
        let seen = message(
            json!({ "role": "assistant", "content": "a", "thinking": "t", "reasoning_content": "r" }),
        )
        .variable();
        assert_eq!((&seen["thinking"], &seen["reasoning_content"]), (&json!("t"), &json!("r")));
    }

    #[test]
    fn parts_that_are_text_have_one_form() {
        let parts = |content: Value| message(json!({ "role": "user", "content": content })).with_text_parts();
        let texts = parts(json!(["a", { "type": "input_text", "text": "b" }, { "text": "c" }]));
        assert_eq!((texts.with_joined_parts().content, texts.other_part()), ("a\nb\nc".into(), None));
        let image = parts(json!([{ "type": "image_url", "image_url": {} }, "a"]));
        assert_eq!(image.other_part(), Some("image_url"));
        assert_eq!(image.without_other_parts().content, json!([{ "type": "text", "text": "a" }]));
    }
}
