//! The demonstration of a row.

use std::collections::BTreeMap;

use ivl_models::Message;
use serde_json::{Map, Value};

use super::recognition::find;
use super::record::Record;
use crate::config::{Field, Format};

/// One demonstration.
#[derive(Debug, Clone, PartialEq)]
pub enum Demonstration {
    /// A conversation; the assistant's turns are trained.
    Conversation(Conversation),
    /// A task and its answer, which is trained. With a chat template it becomes a conversation of one turn, else
    /// Alpaca's prompt.
    Instruction {
        /// The task.
        instruction: String,
        /// The input of the task; may be empty.
        input: String,
        /// Learnt.
        output: String,
        /// The system's message; may be empty.
        system: String,
    },
    /// A prompt and its completion; the completion is trained.
    Completion {
        /// Given.
        prompt: String,
        /// Learnt.
        completion: String,
    },
    /// Plain text, all of it trained: for pre-training.
    Text(String),
}

/// Messages and what goes with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The turns.
    pub messages: Vec<Message>,
    /// Number of messages at the start that belong to the prompt; none of their tokens is trained.
    pub given: usize,
    /// Tools, as JSON schemas.
    pub tools: Option<Vec<Value>>,
}

impl Conversation {
    /// Messages of which every assistant turn is trained.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// The turns that are trained.
    pub fn trained_turns(&self) -> impl Iterator<Item = usize> {
        (self.given..self.messages.len()).filter(|&turn| self.messages[turn].role == "assistant")
    }
}

/// Reads a record of a known format; the error describes the actual content.
pub(super) fn read(
    record: Record,
    format: Format,
    columns: &BTreeMap<Field, String>,
) -> Result<Demonstration, String> {
    let row = Fields { record, columns };
    match format {
        Format::Messages => row.conversation(Field::Messages, None).map(Demonstration::Conversation),
        Format::Sharegpt => row.conversation(Field::Conversations, None).map(Demonstration::Conversation),
        Format::Completion if row.is_list(Field::Prompt) || row.is_list(Field::Completion) => {
            row.conversation(Field::Completion, Some(Field::Prompt)).map(Demonstration::Conversation)
        }
        Format::Completion => {
            let (prompt, completion) = (row.text(Field::Prompt)?, row.text(Field::Completion)?);
            Ok(Demonstration::Completion { prompt, completion })
        }
        Format::Alpaca => Ok(Demonstration::Instruction {
            instruction: row.text(Field::Instruction)?,
            input: row.optional_text(Field::Input)?,
            output: row.text(Field::Output)?,
            system: row.optional_text(Field::System)?,
        }),
        Format::Text => row.text(Field::Text).map(Demonstration::Text),
    }
}

/// A record by our names.
struct Fields<'a> {
    record: Record,
    columns: &'a BTreeMap<Field, String>,
}

impl Fields<'_> {
    fn column(&self, field: Field) -> &str {
        self.columns.get(&field).map_or(field.name(), String::as_str)
    }

    fn get(&self, field: Field) -> Option<&Value> {
        find(&self.record, self.column(field)).filter(|value| !value.is_null())
    }

    fn is_list(&self, field: Field) -> bool {
        self.get(field).is_some_and(Value::is_array)
    }

    fn text(&self, field: Field) -> Result<String, String> {
        match self.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("{} in `{}`, expected a text", kind(other), self.column(field))),
            None => Err(format!("nothing in `{}`, expected a text", self.column(field))),
        }
    }

    fn optional_text(&self, field: Field) -> Result<String, String> {
        if self.get(field).is_some() { self.text(field) } else { Ok(String::new()) }
    }

    fn conversation(&self, field: Field, given: Option<Field>) -> Result<Conversation, String> {
        let mut messages = match given {
            Some(given) => self.messages(given)?,
            None => Vec::new(),
        };
        let mut given = messages.len();
        messages.extend(self.messages(field)?);
        let system = self.optional_text(Field::System)?;
        if !system.is_empty() && messages.first().is_none_or(|first| first.role != "system") {
            messages.insert(0, Message::new("system", &system));
            given += usize::from(given > 0);
        }
        let conversation = Conversation { messages, given, tools: self.tools()? };
        if conversation.trained_turns().next().is_none() {
            return Err(format!("no turn of an assistant in `{}`", self.column(field)));
        }
        Ok(conversation)
    }

    fn messages(&self, field: Field) -> Result<Vec<Message>, String> {
        let Some(Value::Array(turns)) = self.get(field) else {
            let got = self.get(field).map_or("nothing", kind);
            return Err(format!("{got} in `{}`, expected a list of messages", self.column(field)));
        };
        let message = |(turn, message): (usize, &Value)| {
            self.message(message).map_err(|got| format!("{got} (turn {turn} of `{}`)", self.column(field)))
        };
        turns.iter().enumerate().map(message).collect()
    }

    /// A message by either pair of names, `role` and `content` or ShareGPT's `from` and `value`, with the ways in which
    /// the latter's speakers are called.
    fn message(&self, message: &Value) -> Result<Message, String> {
        let Value::Object(fields) = message else { return Err(kind(message).to_owned()) };
        let mut extra: Map<String, Value> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let mut take = |names: [Field; 2]| {
            names.into_iter().find_map(|field| Some((field, extra.remove(self.column(field))?)))
        };
        let role = match take([Field::Role, Field::From]) {
            Some((_, Value::String(role))) => role,
            Some((field, other)) => return Err(format!("{} in `{}`", kind(&other), self.column(field))),
            None => {
                let (role, from) = (self.column(Field::Role), self.column(Field::From));
                return Err(format!("a message without `{role}` or `{from}`"));
            }
        };
        let content = take([Field::Content, Field::Value]).map_or(Value::Null, |(_, content)| content);
        match content {
            Value::String(_) | Value::Array(_) => {}
            // An assistant may call tools and say nothing.
            Value::Null if extra.contains_key("tool_calls") => {}
            other => return Err(format!("{} as the content of a message", kind(&other))),
        }
        Ok(Message { role: speaker(&role).to_owned(), content, extra })
    }

    /// A list of schemas, or the same as JSON in a text: tables cannot hold schemas of different shapes.
    fn tools(&self) -> Result<Option<Vec<Value>>, String> {
        let Some(tools) = self.get(Field::Tools) else { return Ok(None) };
        let parsed = match tools {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => serde_json::from_str(text).map_err(|error| {
                format!("a text in `{}` that is not JSON ({error})", self.column(Field::Tools))
            })?,
            other => other.clone(),
        };
        match parsed {
            Value::Array(tools) => Ok((!tools.is_empty()).then_some(tools)),
            other => {
                Err(format!("{} in `{}`, expected a list of tools", kind(&other), self.column(Field::Tools)))
            }
        }
    }
}

/// The role, as chat templates name it.
fn speaker(role: &str) -> &str {
    match role {
        "human" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "bot" => "assistant",
        "observation" | "function_response" => "tool",
        other => other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
