//! Chat templates: Jinja from a checkpoint, rendered as transformers renders it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::FileError;
use crate::files::{read_json, read_text};
use crate::template::chat_error::ChatError;
use crate::template::chat_spans::Frame;
use crate::template::jinja::{python_environment, python_source};
use crate::template::strftime::strftime_now;

/// Largest file with a template that is read.
const LARGEST_FILE: u64 = 16 << 20;

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

impl Message {
    /// A turn of plain text.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: Value::from(content), extra: Map::new() }
    }
}

/// The inputs of a template besides the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// End with the beginning of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Tools, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Further variables.
    pub extra: Map<String, Value>,
}

/// A chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    path: PathBuf,
    source: String,
    tool_use: Option<String>,
    special: HashMap<String, String>,
    compiled: Arc<Environment<'static>>,
    /// Of the template, and of the one for tools.
    pub(crate) frames: Arc<[OnceLock<Frame>; 2]>,
}

impl ChatTemplate {
    /// The template of a checkpoint: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (a string, or a
    /// list of named ones), else `chat_template.json`. `None` if there is none.
    ///
    /// # Errors
    /// [`ChatError`] for a template that cannot be read or does not compile.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, ChatError> {
        let config = dir.join("tokenizer_config.json");
        let json = if config.is_file() { read_json(&config)? } else { Map::new() };
        let special = special_tokens(&json);
        let jinja = dir.join("chat_template.jinja");
        if jinja.is_file() {
            let source = read(&jinja)?;
            return Self::new(jinja, source, None, special).map(Some);
        }
        if let Some((source, tool_use)) = json.get("chat_template").and_then(templates) {
            return Self::new(config, source, tool_use, special).map(Some);
        }
        let legacy = dir.join("chat_template.json");
        if !legacy.is_file() {
            return Ok(None);
        }
        let json: Map<String, Value> = read_json(&legacy)?;
        match json.get("chat_template").and_then(templates) {
            Some((source, tool_use)) => Self::new(legacy, source, tool_use, special).map(Some),
            None => Ok(None),
        }
    }

    /// A template from a Jinja file of its own; special tokens come from a `tokenizer_config.json` beside it, if any.
    ///
    /// # Errors
    /// [`ChatError`] for a template that cannot be read or does not compile.
    pub fn from_file(path: &Path) -> Result<Self, ChatError> {
        let config = path.with_file_name("tokenizer_config.json");
        let json = if config.is_file() { read_json(&config)? } else { Map::new() };
        Self::new(path.to_owned(), read(path)?, None, special_tokens(&json))
    }

    fn new(
        path: PathBuf,
        source: String,
        tool_use: Option<String>,
        special: HashMap<String, String>,
    ) -> Result<Self, ChatError> {
        let mut compiled = environment();
        let all = [(DEFAULT, Some(&source)), (TOOL_USE, tool_use.as_ref())];
        for (name, source) in all.into_iter().filter_map(|(name, source)| Some((name, source?))) {
            compiled
                .add_template_owned(name, with_generation_filter(&python_source(source)))
                .map_err(|source| ChatError::Compile { path: path.clone(), source })?;
        }
        let (compiled, frames) = (Arc::new(compiled), Arc::default());
        Ok(Self { path, source, tool_use, special, compiled, frames })
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All that decides what is rendered, as one text.
    pub fn identity(&self) -> String {
        let mut special: Vec<_> = self.special.iter().collect();
        special.sort();
        format!("{special:?} {:?} {}", self.tool_use, self.source)
    }

    /// Where it was read from.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Whether tools have a template of their own.
    pub(crate) fn uses_tools(&self, options: &RenderOptions) -> bool {
        self.tool_use.is_some() && options.tools.is_some()
    }

    /// Whether the template marks the assistant's text by generation blocks.
    pub(crate) fn has_marks(&self, options: &RenderOptions) -> bool {
        let source = if self.uses_tools(options) { self.tool_use.as_ref() } else { Some(&self.source) };
        source.is_some_and(|source| with_generation_filter(source) != *source)
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`ChatError::Render`] if the template fails, refuses the messages, or does not end.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, ChatError> {
        self.render_marked(messages, options, None)
    }

    /// Renders with two letters around the text of every generation block.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        marks: Option<[char; 2]>,
    ) -> Result<String, ChatError> {
        let mut variables = Map::new();
        variables
            .extend(self.special.iter().map(|(role, token)| (role.clone(), Value::from(token.as_str()))));
        let messages =
            messages.iter().map(|message| serde_json::to_value(message).unwrap_or_default()).collect();
        variables.insert("messages".to_owned(), Value::Array(messages));
        variables.insert("tools".to_owned(), options.tools.clone().map_or(Value::Null, Value::Array));
        variables.insert("documents".to_owned(), Value::Null);
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        variables.extend(options.extra.clone());
        if let Some([open, close]) = marks {
            variables.insert(MARKS.to_owned(), serde_json::json!([open, close]));
        }
        let name = if self.uses_tools(options) { TOOL_USE } else { DEFAULT };
        let render = |source| ChatError::Render { path: self.path.clone(), source };
        let template = self.compiled.get_template(name).map_err(render)?;
        template.render(minijinja::value::Serde(variables)).map_err(render)
    }
}

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// The filter that generation blocks become, and the variable with the letters that it puts around them.
const GENERATION: &str = "ivl_generation";
const MARKS: &str = "ivl_generation_marks";

fn mark_generation(state: &minijinja::State, text: String) -> String {
    let mark = |index: usize| state.lookup(MARKS).and_then(|marks| marks.get_item_by_index(index).ok());
    match (mark(0), mark(1)) {
        (Some(open), Some(close)) => format!("{open}{text}{close}"),
        _ => text,
    }
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = python_environment();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| strftime_now(&format));
    environment.add_filter(GENERATION, mark_generation);
    environment
}

/// Transformers marks the assistant's text with `{% generation %}` blocks, which plain Jinja does not know; here they
/// become filter blocks, with the same control of whitespace.
fn with_generation_filter(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // Behind the opening: `{%}` opens a tag and closes none.
        let Some(len) = rest[start + 2..].find("%}").map(|len| len + 2) else { break };
        let tag = &rest[start + 2..start + len];
        let (open, tag) = split_control(tag);
        let close = if tag.ends_with('-') { "-" } else { "" };
        let word = tag.trim_end_matches(['-', '+']).trim();
        let replaced = match word {
            "generation" => Some(format!("filter {GENERATION}")),
            "endgeneration" => Some("endfilter".to_owned()),
            _ => None,
        };
        out.push_str(&rest[..start]);
        match replaced {
            Some(word) => out.extend(["{%", open, " ", &word, " ", close, "%}"]),
            None => out.push_str(&rest[start..start + len + 2]),
        }
        rest = &rest[start + len + 2..];
    }
    out + rest
}

fn split_control(tag: &str) -> (&str, &str) {
    let len = usize::from(tag.starts_with(['-', '+']));
    tag.split_at(len)
}

/// A template, or a list of named ones: the default, and the one for tools.
fn templates(value: &Value) -> Option<(String, Option<String>)> {
    if let Some(source) = value.as_str() {
        return Some((source.to_owned(), None));
    }
    let named = |name: &str| {
        let entry = value.as_array()?.iter().find(|entry| entry["name"] == name)?;
        Some(entry["template"].as_str()?.to_owned())
    };
    Some((named("default")?, named("tool_use")))
}

fn special_tokens(json: &Map<String, Value>) -> HashMap<String, String> {
    let token = |(role, value): (&String, &Value)| {
        let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
        role.ends_with("_token").then(|| (role.clone(), content.to_owned()))
    };
    json.iter().filter_map(token).collect()
}

fn read(path: &Path) -> Result<String, FileError> {
    read_text(path, "a chat template", LARGEST_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let special = HashMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        ChatTemplate::new("test.jinja".into(), source.to_owned(), None, special).expect("compiles")
    }

    #[test]
    fn generation_blocks_become_filters() {
        let source = "a\n{%- generation -%}\n b {% if x %}c{% endif %}{% endgeneration %}\nd";
        assert_eq!(
            with_generation_filter(source),
            "a\n{%- filter ivl_generation -%}\n b {% if x %}c{% endif %}{% endfilter %}\nd"
        );
    }

    #[test]
    fn a_template_may_refuse_and_must_end() {
        let refusing = template("{{ raise_exception('only users') }}");
        let error = refusing.render(&[], &RenderOptions::default()).expect_err("refuses");
        assert!(format!("{error:?}").contains("only users"));
        let endless =
            template("{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}");
        assert!(endless.render(&[], &RenderOptions::default()).is_err());
    }

    #[test]
    fn python_values_print_as_in_python() {
        let text = template(
            "{{ bos_token }}{{ true }} {{ none }} {{ messages[0].content }}{{ messages[0].nothing }}",
        );
        let rendered =
            text.render(&[Message::new("user", "<b> & 'é'")], &RenderOptions::default()).expect("renders");
        assert_eq!(rendered, "<s>True None <b> & 'é'");
    }
}
