//! Tools that a conversation may call.

use ivl_models::ChatTemplate;
use serde_json::Value;

use super::fields::{Fields, expected};
use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::constraint::GrammarSource;
use crate::tools::{ForcedCalls, ToolFormat, ToolStream, call_grammar};

/// Tools of a request.
const MOST_TOOLS: usize = 128;

/// Bytes of the tools of which an answer must call one: they become a grammar.
const LARGEST_FORCED: usize = 256 << 10;

/// `tools`, `tool_choice` and `parallel_tool_calls`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tools {
    /// As they were sent; none where `tool_choice` is `none`.
    list: Vec<Value>,
    choice: ToolChoice,
    /// Whether an answer may have more than one call.
    parallel: bool,
}

/// Which tools the answer calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum ToolChoice {
    /// What the model wants.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// The function of this name.
    Named(String),
}

impl Default for Tools {
    fn default() -> Self {
        Self { list: Vec::new(), choice: ToolChoice::Auto, parallel: true }
    }
}

impl Tools {
    /// Reads the fields.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for what is not a list of functions, and for a choice that is not among them.
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        let wanted = || {
            expected(
                "tools",
                &format!("a list of at most {MOST_TOOLS} objects with `type`: \"function\" and `function`"),
            )
        };
        let list = match fields.get("tools") {
            None => Vec::new(),
            Some(value) => {
                value.as_array().filter(|list| list.len() <= MOST_TOOLS).ok_or_else(wanted)?.clone()
            }
        };
        let is_function =
            |tool: &Value| tool["type"] == "function" && tool["function"]["name"].as_str().is_some();
        if !list.iter().all(is_function) {
            return Err(wanted());
        }
        let parallel = fields.flag_or("parallel_tool_calls", true)?;
        let Some(choice) = choice(fields, &list)? else { return Ok(Self::default()) };
        Ok(Self { list, choice, parallel })
    }

    /// Whether the answer may call one.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the client named the function that is called: then the end of the answer is not the model's choice of a call.
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.choice, ToolChoice::Named(_))
    }

    /// The tools for a template.
    ///
    /// # Errors
    /// [`ApiError::invalid`] if the template does not show them.
    pub(super) fn for_template(&self, template: &ChatTemplate) -> Result<Option<Vec<Value>>, ApiError> {
        if self.is_empty() {
            return Ok(None);
        }
        if !template.identity().contains("tools") {
            return Err(ApiError::invalid("tools", "the chat template of this model does not show tools"));
        }
        Ok(Some(self.list.clone()))
    }

    /// Finds the calls in an answer under a template, if there can be any.
    pub(crate) fn stream(&self, template: Option<&ChatTemplate>) -> Option<ToolStream> {
        let most_calls = if self.parallel { usize::MAX } else { 1 };
        self.format(template).map(|format| ToolStream::new(format, &self.list).with_most_calls(most_calls))
    }

    /// The format of the calls: the template's, else plain JSON where the answer has to be calls.
    fn format(&self, template: Option<&ChatTemplate>) -> Option<ToolFormat> {
        if self.is_empty() {
            return None;
        }
        let known = template.and_then(|template| ToolFormat::of(&template.identity()));
        known.or((self.choice != ToolChoice::Auto).then_some(ToolFormat::Json))
    }

    /// The grammar of an answer that has to be calls, and the field that says so.
    ///
    /// # Errors
    /// [`ApiError::invalid`] for tools that are too large for a grammar.
    pub(super) fn grammar(
        &self,
        template: Option<&ChatTemplate>,
        catalog: &Catalog,
    ) -> Result<Option<(&'static str, GrammarSource)>, ApiError> {
        let (tools, calls): (Vec<&Value>, _) = match &self.choice {
            ToolChoice::Auto => return Ok(None),
            ToolChoice::Required if self.parallel => (self.list.iter().collect(), ForcedCalls::Many),
            ToolChoice::Required => (self.list.iter().collect(), ForcedCalls::One),
            ToolChoice::Named(name) => (named(&self.list, name).collect(), ForcedCalls::One),
        };
        let size: usize = tools.iter().map(|tool| tool.to_string().len()).sum();
        if size > LARGEST_FORCED {
            let message = format!(
                "the tools have {size} bytes, expected at most {LARGEST_FORCED} where `tool_choice` demands a call"
            );
            return Err(ApiError::invalid("tools", message));
        }
        let Some(format) = self.format(template) else { return Ok(None) };
        let control_id = |name: &str| {
            let is_control =
                |id: &u32| catalog.vocab().token(*id).is_some_and(ivl_core::vocab::Token::is_control);
            catalog.tokenizer().token_to_id(name).filter(is_control)
        };
        let grammar = call_grammar(format, &tools, calls, &control_id);
        Ok(Some(("tools", GrammarSource::Lark(grammar))))
    }
}

/// The tools whose function has a name.
fn named<'a>(list: &'a [Value], name: &str) -> impl Iterator<Item = &'a Value> {
    list.iter().filter(move |tool| tool["function"]["name"] == name)
}

/// `tool_choice`; `None` if no tool may be called.
fn choice(fields: &Fields, list: &[Value]) -> Result<Option<ToolChoice>, ApiError> {
    let name = "tool_choice";
    let wanted = || {
        expected(
            name,
            "`none`, `auto`, `required`, or an object with `type`: \"function\" and `function.name`",
        )
    };
    let choice = match fields.get(name) {
        None => ToolChoice::Auto,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(None),
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return Err(wanted()),
        },
        Some(object) if object["type"] == "function" => {
            let function = object["function"]["name"].as_str().ok_or_else(wanted)?;
            if named(list, function).next().is_none() {
                return Err(ApiError::invalid(
                    name,
                    format!("`{function}` is not among the functions in `tools`"),
                ));
            }
            ToolChoice::Named(function.to_owned())
        }
        Some(_) => return Err(wanted()),
    };
    if choice == ToolChoice::Required && list.is_empty() {
        return Err(ApiError::invalid(name, "`required` needs `tools` to choose from"));
    }
    Ok(Some(choice))
}
