//! Chat templates: Jinja from a checkpoint, rendered as transformers renders it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use super::chat_error::ChatError;
use super::generation_blocks::{MARKS, add_generation_filter, has_generation_blocks, with_generation_filter};
use super::jinja::{python_environment, python_source};
use super::letters::{Letters, letters_in};
use super::message::Message;
use super::python::python_str;
use super::strftime::strftime_now;
use crate::FileError;
use crate::files::{read_json, read_text};
use crate::tokenizer::{GgufTextFiles, SpecialTokens};

/// Largest file with a template that is read.
const LARGEST_FILE: u64 = 16 << 20;

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
    special: BTreeMap<String, String>,
    compiled: Arc<Environment<'static>>,
}

impl ChatTemplate {
    /// The template of a checkpoint: `chat_template.jinja` (for tools, `additional_chat_templates/tool_use.jinja`), else
    /// `chat_template` in `tokenizer_config.json` (a string, or a list of named ones), else `chat_template.json`. `None` if there
    /// is none. Special tokens are those that the directory declares. Of a GGUF file: `tokenizer.chat_template`, and for tools
    /// `tokenizer.chat_template.tool_use`.
    ///
    /// # Errors
    /// [`ChatError`] for a template that cannot be read or does not compile.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, ChatError> {
        let special = SpecialTokens::from_dir(dir)?;
        if let Some(files) = GgufTextFiles::of(dir)? {
            let template = files
                .template
                .map(|(source, tool_use)| Self::new(dir.to_owned(), source, tool_use, &special));
            return template.transpose();
        }
        let jinja = dir.join("chat_template.jinja");
        if jinja.is_file() {
            let for_tools = dir.join("additional_chat_templates/tool_use.jinja");
            let tool_use = if for_tools.is_file() { Some(read(&for_tools)?) } else { None };
            let source = read(&jinja)?;
            return Self::new(jinja, source, tool_use, &special).map(Some);
        }
        for name in ["tokenizer_config.json", "chat_template.json"] {
            let path = dir.join(name);
            let json: Map<String, Value> = if path.is_file() { read_json(&path)? } else { Map::new() };
            if let Some((source, tool_use)) = json.get("chat_template").and_then(templates) {
                return Self::new(path, source, tool_use, &special).map(Some);
            }
        }
        Ok(None)
    }

    /// A template from a Jinja file of its own. Special tokens are those that files beside it declare; see
    /// [`with_special_tokens`](Self::with_special_tokens).
    ///
    /// # Errors
    /// [`ChatError`] for a template that cannot be read or does not compile.
    pub fn from_file(path: &Path) -> Result<Self, ChatError> {
        let special = SpecialTokens::from_dir(path.parent().unwrap_or(Path::new("")))?;
        Self::new(path.to_owned(), read(path)?, None, &special)
    }

    fn new(
        path: PathBuf,
        source: String,
        tool_use: Option<String>,
        special: &SpecialTokens,
    ) -> Result<Self, ChatError> {
        let mut compiled = environment();
        let all = [(DEFAULT, Some(&source)), (TOOL_USE, tool_use.as_ref())];
        for (name, source) in all.into_iter().filter_map(|(name, source)| Some((name, source?))) {
            compiled
                .add_template_owned(name, with_generation_filter(&python_source(source)))
                .map_err(|source| ChatError::Compile { path: path.clone(), source })?;
        }
        let template =
            Self { path, source, tool_use, special: BTreeMap::new(), compiled: Arc::new(compiled) };
        Ok(template.with_special_tokens(special))
    }

    /// The same template with the special tokens of a tokenizer, as for a template that lies elsewhere.
    #[must_use]
    pub fn with_special_tokens(mut self, tokens: &SpecialTokens) -> Self {
        self.special = tokens.iter().map(|(role, token)| (role.to_owned(), token.to_owned())).collect();
        self
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All that decides what is rendered, as one text.
    pub fn identity(&self) -> String {
        let special: Vec<_> = self.special.iter().collect();
        format!("{special:?} {:?} {}", self.tool_use, self.source)
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether tools have a template of their own.
    pub(super) fn uses_tools(&self, options: &RenderOptions) -> bool {
        self.tool_use.is_some() && options.tools.is_some()
    }

    /// Whether the template marks the assistant's text by generation blocks.
    pub(super) fn has_marks(&self, options: &RenderOptions) -> bool {
        let source = if self.uses_tools(options) { self.tool_use.as_ref() } else { Some(&self.source) };
        source.is_some_and(|source| has_generation_blocks(source))
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`ChatError::Refused`] if the template refuses the messages, [`ChatError::Render`] if it fails or does not end.
    /// [`ChatError::PartNotText`] for a part that is no text, [`ChatError::RoleNotShown`] for a template that leaves
    /// out all that a role says.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, ChatError> {
        let messages = self.prepared(messages, options)?;
        let text = self.render_prepared(&messages, options, None)?;
        self.check_roles_shown(&messages, options, &text)?;
        Ok(text)
    }

    /// The messages with their parts in the form that the template shows: a list, or a text where it writes lists as Python does.
    pub(super) fn prepared(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<Message>, ChatError> {
        if let Some(name) = RESERVED.into_iter().find(|name| options.extra.contains_key(*name)) {
            return Err(ChatError::ReservedVariable { name });
        }
        let messages: Vec<Message> = messages.iter().map(Message::with_text_parts).collect();
        if messages.iter().all(|message| !message.content.is_array()) {
            return Ok(messages);
        }
        let shows_parts = self.shows_parts(&messages, options)?;
        let other =
            messages.iter().enumerate().find_map(|(turn, message)| Some((turn, message.other_part()?)));
        if let Some((turn, kind)) = other
            && !(shows_parts && self.shows_other_parts(&messages, options)?)
        {
            return Err(ChatError::PartNotText { path: self.path.clone(), turn, kind: kind.to_owned() });
        }
        if shows_parts { Ok(messages) } else { Ok(messages.iter().map(Message::with_joined_parts).collect()) }
    }

    /// Whether parts that are no text change what is rendered.
    fn shows_other_parts(&self, messages: &[Message], options: &RenderOptions) -> Result<bool, ChatError> {
        let texts: Vec<Message> = messages.iter().map(Message::without_other_parts).collect();
        let [with, without] =
            [messages, &texts].map(|messages| self.render_prepared(messages, options, None));
        Ok(with? != without?)
    }

    fn shows_parts(&self, messages: &[Message], options: &RenderOptions) -> Result<bool, ChatError> {
        let letters = Letters::unused(messages, "")?;
        let replaced: Vec<Message> = with_letters(messages, letters);
        let Ok(text) = self.render_prepared(&replaced, options, None) else { return Ok(false) };
        let shown: BTreeSet<char> = text.chars().collect();
        let has_parts = |turn: &usize| messages[*turn].content.is_array();
        Ok((0..messages.len()).filter(has_parts).any(|turn| shown.contains(&letters.turn(turn))))
    }

    /// Whether something of every role is in what was rendered: letters in place of the texts say so. A template that shows no
    /// texts at all is about other fields, and one that fails on the letters insists on the texts; both are believed.
    pub(super) fn check_roles_shown(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        text: &str,
    ) -> Result<(), ChatError> {
        let letters = Letters::unused(messages, text)?;
        let Ok(shown) = self.render_prepared(&with_letters(messages, letters), options, None) else {
            return Ok(());
        };
        let in_text = letters_in(&shown);
        let spoken = messages.iter().enumerate().filter(|(_, message)| !message.texts().is_empty());
        let (shown, hidden): (Vec<_>, Vec<_>) =
            spoken.partition(|(turn, _)| in_text.contains(&letters.turn(*turn)));
        let roles: BTreeSet<&str> = shown.iter().map(|(_, message)| message.role.as_str()).collect();
        match hidden.into_iter().find(|(_, message)| !roles.contains(message.role.as_str())) {
            Some((turn, message)) if !roles.is_empty() => {
                Err(ChatError::RoleNotShown { path: self.path.clone(), turn, role: message.role.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whether calls of tools are in what was rendered, if there are any: their names or arguments.
    pub(super) fn check_calls_shown(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        text: &str,
    ) -> Result<(), ChatError> {
        let calls: Vec<usize> = (0..messages.len()).filter(|&turn| messages[turn].has_calls()).collect();
        let Some(&turn) = calls.first() else { return Ok(()) };
        let letters = Letters::unused(messages, text)?;
        let mark = |turn: usize| letters.call(turn);
        let marked = messages.iter().enumerate();
        let marked: Vec<Message> =
            marked.map(|(turn, message)| message.with_marked_calls(&mark(turn).to_string())).collect();
        let Ok(shown) = self.render_prepared(&marked, options, None) else { return Ok(()) };
        let shown = letters_in(&shown);
        if calls.iter().any(|&turn| shown.contains(&mark(turn))) {
            return Ok(());
        }
        Err(ChatError::CallsNotShown { path: self.path.clone(), turn })
    }

    /// Renders messages that are prepared, with two letters around the text of every generation block if they are given.
    pub(super) fn render_prepared(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        marks: Option<[char; 2]>,
    ) -> Result<String, ChatError> {
        let mut variables = Map::new();
        variables
            .extend(self.special.iter().map(|(role, token)| (role.clone(), Value::from(token.as_str()))));
        variables.insert("messages".to_owned(), messages.iter().map(Message::variable).collect());
        variables.insert("tools".to_owned(), options.tools.clone().map_or(Value::Null, Value::Array));
        variables.insert("documents".to_owned(), Value::Null);
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        variables.extend(options.extra.clone());
        if let Some([open, close]) = marks {
            variables.insert(MARKS.to_owned(), serde_json::json!([open, close]));
        }
        let name = if self.uses_tools(options) { TOOL_USE } else { DEFAULT };
        let failed = |source| self.failed(source);
        let template = self.compiled.get_template(name).map_err(failed)?;
        template.render(minijinja::value::Serde(variables)).map_err(failed)
    }

    fn failed(&self, source: minijinja::Error) -> ChatError {
        let mut cause: Option<&dyn std::error::Error> = Some(&source);
        while let Some(error) = cause {
            if let Some(Refusal(reason)) = error.downcast_ref() {
                return ChatError::Refused { path: self.path.clone(), reason: reason.clone() };
            }
            cause = error.source();
        }
        ChatError::Render { path: self.path.clone(), source }
    }
}

/// Variables that are not further ones.
const RESERVED: [&str; 3] = ["messages", "tools", "add_generation_prompt"];

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// The messages with a letter in place of every text.
fn with_letters(messages: &[Message], letters: Letters) -> Vec<Message> {
    let replace = |(turn, message): (usize, &Message)| {
        let letter = letters.turn(turn).to_string();
        let content = match &message.content {
            Value::Array(parts) => parts.iter().map(|part| part_with_letter(part, &letter)).collect(),
            _ if message.texts().is_empty() => message.content.clone(),
            _ => Value::from(letter),
        };
        Message { content, ..message.clone() }
    };
    messages.iter().enumerate().map(replace).collect()
}

fn part_with_letter(part: &Value, letter: &str) -> Value {
    if part["type"] == "text" { serde_json::json!({ "type": "text", "text": letter }) } else { part.clone() }
}

/// The message of `raise_exception` in a template.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = python_environment();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters differ from each other"));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.add_function(
        "raise_exception",
        |message: minijinja::Value| -> Result<String, minijinja::Error> {
            let reason = python_str(&message);
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason.clone())
                .with_source(Refusal(reason)))
        },
    );
    environment.add_function("strftime_now", |format: String| strftime_now(&format));
    add_generation_filter(&mut environment);
    environment
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

fn read(path: &Path) -> Result<String, FileError> {
    read_text(path, "a chat template", LARGEST_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let tokens = SpecialTokens::default();
        let mut template =
            ChatTemplate::new("test.jinja".into(), source.to_owned(), None, &tokens).expect("compiles");
        template.special.insert("bos_token".to_owned(), "<s>".to_owned());
        template
    }

    fn messages(json: Value) -> Vec<Message> {
        serde_json::from_value(json).expect("messages")
    }

    #[test]
    fn a_template_may_refuse_and_must_end() {
        let refusing = template("{{ raise_exception('only users') }}");
        let error = refusing.render(&[], &RenderOptions::default()).expect_err("refuses");
        assert!(error.to_string().ends_with("only users"), "{error}");
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

    const CHATML: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}";

    #[test]
    fn parts_are_joined_where_a_template_writes_texts_only() {
        let parts = messages(
            serde_json::json!([{ "role": "user", "content": ["one", { "type": "text", "text": "two" }] }]),
        );
        let render =
            |source: &str, messages: &[Message]| template(source).render(messages, &RenderOptions::default());
        assert_eq!(render(CHATML, &parts).expect("renders"), "<user>one\ntwo\n");
        let loops =
            "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}";
        assert_eq!(render(loops, &parts).expect("renders"), "[one][two]");
        let image = messages(serde_json::json!([{ "role": "user", "content": [{ "type": "image_url" }] }]));
        for source in [CHATML, loops] {
            let error = render(source, &image).expect_err("refused");
            assert!(error.to_string().contains("image_url"), "{error}");
        }
        let shows = "{% for m in messages %}{% for p in m.content %}{{ p.text or '<image>' }}{% endfor %}{% endfor %}";
        let mixed = messages(serde_json::json!([{ "role": "user", "content": ["a", { "type": "image" }] }]));
        assert_eq!(render(shows, &mixed).expect("renders"), "a<image>");
    }

    #[test]
    fn what_a_template_leaves_out_is_an_error_that_names_it() {
        let render =
            |source: &str, json: Value| template(source).render(&messages(json), &RenderOptions::default());
        let known = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ m.content }}{% endif %}{% endfor %}";
        let error = render(
            known,
            serde_json::json!([{ "role": "developer", "content": "a" }, { "role": "user", "content": "b" }]),
        );
        assert!(
            matches!(error, Err(ChatError::RoleNotShown { turn: 0, ref role, .. }) if role == "developer"),
            "{error:?}"
        );
        let mut options = RenderOptions::default();
        options.extra.insert("messages".to_owned(), Value::Array(Vec::new()));
        let replaced = template(CHATML).render(&[Message::new("user", "a")], &options);
        assert!(matches!(replaced, Err(ChatError::ReservedVariable { name: "messages" })), "{replaced:?}");
        // Nothing but another field is shown.
        let fields = "{{ messages[0].v }}";
        assert!(render(fields, serde_json::json!([{ "role": "user", "content": "a", "v": 1 }])).is_ok());
        // Only the last of a role is shown, which is something of it.
        let last = "{{ messages[-1].content }}";
        assert!(
            render(
                last,
                serde_json::json!([{ "role": "user", "content": "a" }, { "role": "user", "content": "b" }])
            )
            .is_ok()
        );
    }
}
