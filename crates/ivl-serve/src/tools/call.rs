//! A call of a tool, as answers have it.

use serde_json::{Map, Value, json};

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolCall {
    id: String,
    pub(super) name: String,
    /// JSON as text, as the OpenAI API has it.
    pub(super) arguments: String,
}

impl ToolCall {
    /// A call with arguments by name.
    pub(super) fn new(id: String, name: &str, arguments: Map<String, Value>) -> Self {
        Self { id, name: name.to_owned(), arguments: Value::Object(arguments).to_string() }
    }

    /// Reads an object that names the function and has its arguments, as an object or as JSON in a string.
    pub(super) fn from_json(id: String, call: &Value) -> Option<Self> {
        let name = call.get("name")?.as_str()?.to_owned();
        let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ Value::Object(_)) => value.to_string(),
            _ => return None,
        };
        Some(Self { id, name, arguments })
    }

    /// As an answer has it; `index` in a stream.
    pub(crate) fn json(&self, index: Option<usize>) -> Value {
        let mut call = json!({
            "id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments},
        });
        if let Some(index) = index {
            call["index"] = index.into();
        }
        call
    }
}
