//! The fields of a row by our names, whatever its file calls them.

use std::collections::BTreeMap;

use ivl_models::Message;
use serde_json::{Map, Value, json};

use super::demonstration::{ASSISTANT, Conversation};
use super::recognition::find;
use super::record::Record;
use crate::config::{Field, SourceConfig};

/// A record by our names.
pub(super) struct RowFields<'a> {
    record: Record,
    columns: &'a BTreeMap<Field, String>,
    roles: &'a BTreeMap<String, String>,
}

impl<'a> RowFields<'a> {
    pub(super) fn new(record: Record, config: &'a SourceConfig) -> Self {
        Self { record, columns: &config.columns, roles: &config.roles }
    }

    pub(super) fn column(&self, field: Field) -> &str {
        self.columns.get(&field).map_or(field.name(), String::as_str)
    }

    pub(super) fn get(&self, field: Field) -> Option<&Value> {
        find(&self.record, self.column(field)).filter(|value| !value.is_null())
    }

    pub(super) fn is_list(&self, field: Field) -> bool {
        self.get(field).is_some_and(Value::is_array)
    }

    pub(super) fn text(&self, field: Field) -> Result<String, String> {
        match self.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("{} in `{}`, expected a text", kind(other), self.column(field))),
            None => Err(format!("nothing in `{}`, expected a text", self.column(field))),
        }
    }

    pub(super) fn optional_text(&self, field: Field) -> Result<String, String> {
        if self.get(field).is_some() { self.text(field) } else { Ok(String::new()) }
    }

    pub(super) fn conversation(&self, field: Field, given: Option<Field>) -> Result<Conversation, String> {
        let mut turns = match given {
            Some(given) => self.turns(given)?,
            None => Vec::new(),
        };
        let given = turns.len();
        turns.extend(self.turns(field)?);
        self.conversation_of(turns, given, field)
    }

    /// Turns with what else the row says of them; the first `given` are not trained, and `field` has the others.
    pub(super) fn conversation_of(
        &self,
        mut turns: Vec<ParsedTurn>,
        mut given: usize,
        field: Field,
    ) -> Result<Conversation, String> {
        let system = self.optional_text(Field::System)?;
        if !system.is_empty() && turns.first().is_none_or(|first| first.message.role != "system") {
            turns.insert(0, ParsedTurn { message: Message::new("system", &system), trained: None });
            given += usize::from(given > 0);
        }
        if field != Field::Prompt && !turns[given..].iter().any(|turn| turn.message.role == ASSISTANT) {
            return Err(format!("no turn of an assistant in `{}`", self.column(field)));
        }
        let untrained = (0..turns.len()).filter(|&turn| turns[turn].trained == Some(false)).collect();
        let messages = turns.into_iter().map(|turn| turn.message).collect();
        let (tools, template_kwargs) = (self.tools()?, self.template_kwargs()?);
        Ok(Conversation { messages, given, untrained, tools, template_kwargs })
    }

    /// The messages of a field: a list, or the same as JSON in a text, since tables of texts cannot hold lists.
    pub(super) fn turns(&self, field: Field) -> Result<Vec<ParsedTurn>, String> {
        let parsed: Option<Value> = match self.get(field) {
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            _ => None,
        };
        let Some(Value::Array(turns)) = parsed.as_ref().or_else(|| self.get(field)) else {
            let got = self.get(field).map_or("nothing", kind);
            return Err(format!("{got} in `{}`, expected a list of messages", self.column(field)));
        };
        let turn = |(turn, message): (usize, &Value)| {
            self.turn(message).map_err(|got| format!("{got} (turn {turn} of `{}`)", self.column(field)))
        };
        turns.iter().enumerate().map(turn).collect()
    }

    /// A message by either pair of names, `role` and `content` or ShareGPT's `from` and `value`.
    fn turn(&self, message: &Value) -> Result<ParsedTurn, String> {
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
            Value::Null if INSTEAD_OF_CONTENT.iter().any(|field| extra.contains_key(*field)) => {}
            other => return Err(format!("{} as the content of a message", kind(&other))),
        }
        let role = speaker(&role, self.roles)?;
        let trained = trained(&mut extra)?;
        if trained == Some(true) && role != ASSISTANT {
            return Err(format!(
                "a turn of `{role}` that is to be trained: only the assistant's turns can be"
            ));
        }
        Ok(ParsedTurn { message: Message { role, content, extra }, trained })
    }

    /// An object, or the same as JSON in a text. Tables have a column for every key of any row: what is null is absent.
    fn template_kwargs(&self) -> Result<Map<String, Value>, String> {
        match self.value_or_json(Field::TemplateKwargs)? {
            None => Ok(Map::new()),
            Some(Value::Object(kwargs)) => {
                Ok(kwargs.into_iter().filter(|(_, value)| !value.is_null()).collect())
            }
            Some(other) => {
                let column = self.column(Field::TemplateKwargs);
                Err(format!("{} in `{column}`, expected an object", kind(&other)))
            }
        }
    }

    /// A value, or the same as JSON in a text; nothing for an empty text.
    fn value_or_json(&self, field: Field) -> Result<Option<Value>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|error| format!("a text in `{}` that is not JSON ({error})", self.column(field))),
            Some(other) => Ok(Some(other.clone())),
        }
    }

    /// Earlier turns, as some relatives of Alpaca have them, are no part of a task and its answer.
    pub(super) fn refuse_history(&self) -> Result<(), String> {
        match self.get(Field::History) {
            None => Ok(()),
            Some(Value::Array(turns)) if turns.is_empty() => Ok(()),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(()),
            Some(_) => Err(format!(
                "earlier turns in `{}`, which this format has no place for; write them as `messages`",
                self.column(Field::History)
            )),
        }
    }

    /// The tools: schemas with their type, or OpenAI's earlier `functions`, without.
    fn tools(&self) -> Result<Option<Vec<Value>>, String> {
        if let Some(tools) = self.list_of_tools(Field::Tools)? {
            return Ok(Some(tools));
        }
        let functions = self.list_of_tools(Field::Functions)?;
        let tool = |function: Value| match function.get("function") {
            Some(_) => function,
            None => json!({ "type": "function", "function": function }),
        };
        Ok(functions.map(|functions| functions.into_iter().map(tool).collect()))
    }

    /// A list of schemas, or the same as JSON in a text: tables cannot hold schemas of different shapes.
    fn list_of_tools(&self, field: Field) -> Result<Option<Vec<Value>>, String> {
        match self.value_or_json(field)? {
            None => Ok(None),
            Some(Value::Array(tools)) => Ok((!tools.is_empty()).then_some(tools)),
            Some(other) => {
                Err(format!("{} in `{}`, expected a list of tools", kind(&other), self.column(field)))
            }
        }
    }
}

/// Fields of a turn that may replace its content.
const INSTEAD_OF_CONTENT: [&str; 5] =
    ["tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"];

/// A message, and whether it says itself that it is trained or not.
#[derive(Clone, PartialEq)]
pub(super) struct ParsedTurn {
    pub(super) message: Message,
    trained: Option<bool>,
}

impl ParsedTurn {
    /// A user's turn.
    pub(super) fn of_user(text: &str) -> Self {
        Self { message: Message::new("user", text), trained: None }
    }
}

/// Takes out the marks of a turn that is or is not trained: OpenAI's `weight`, and `train` or `training` of axolotl.
fn trained(extra: &mut Map<String, Value>) -> Result<Option<bool>, String> {
    let mut trained = None;
    for name in ["weight", "train", "training"] {
        trained = match extra.remove(name) {
            None => trained,
            Some(Value::Bool(mark)) => Some(mark),
            Some(mark) if mark.as_f64() == Some(0.0) => Some(false),
            Some(mark) if mark.as_f64() == Some(1.0) => Some(true),
            Some(other) => return Err(format!("`{name}` is {other}, expected 0 or 1")),
        };
    }
    Ok(trained)
}

/// The role of a speaker: as the configuration says, else as ShareGPT and its relatives call them.
fn speaker(name: &str, roles: &BTreeMap<String, String>) -> Result<String, String> {
    if let Some(role) = roles.get(name) {
        return Ok(role.clone());
    }
    let role = match name {
        "system" | "user" | "assistant" | "tool" | "developer" | "function" | "ipython" => name,
        "human" | "prompter" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "bot" | "ai" | "model" | "function_call" | "tool_call" => {
            ASSISTANT
        }
        "observation" | "function_response" | "tool_response" => "tool",
        _ => {
            return Err(format!(
                "the unknown speaker `{name}`; say which role it has, such as roles = {{ {name} = \"user\" }}"
            ));
        }
    };
    Ok(role.to_owned())
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
