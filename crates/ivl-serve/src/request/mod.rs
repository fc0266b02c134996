//! Bodies of requests, read and checked: everything that can be refused is refused here, before the engine gets a job.

mod completion_params;
mod fields;
mod fuzz;
mod prompt;

pub(crate) use completion_params::{CompletionParams, values};
pub(crate) use fields::{Fields, expected, ids};
pub use fuzz::fuzz_request;
pub(crate) use prompt::Prompt;

use ivl_models::{Message, RenderOptions};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::engine::OutputOptions;
use crate::settings::Settings;

/// Alternatives at each place that a client may ask for.
const MOST_LOGPROBS: usize = 20;

/// New tokens of a completion that gives no limit, as in the OpenAI API.
const COMPLETION_TOKENS: usize = 16;

/// Messages of a conversation.
const MOST_MESSAGES: usize = 4096;

/// A request for continuations.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Everything but the prompts.
    pub(crate) params: CompletionParams,
    /// At least one.
    pub(crate) prompts: Vec<Prompt>,
    /// Begin the text with the prompt.
    pub(crate) echo: bool,
    /// What to report beside the text.
    pub(crate) output: OutputOptions,
}

impl Request {
    /// Reads the body of `/v1/completions`.
    ///
    /// # Errors
    /// [`ApiError`] names the field at fault.
    pub(crate) fn completion(
        fields: &Fields,
        catalog: &Catalog,
        settings: &Settings,
    ) -> Result<Self, ApiError> {
        let params = CompletionParams::read(fields, catalog, settings)?;
        let best = fields.count("best_of", 1, usize::MAX)?.unwrap_or(params.n);
        if best != params.n {
            return Err(ApiError::invalid("best_of", "`best_of` other than `n` is not supported"));
        }
        let prompts = Prompt::read_all(fields.get("prompt"), settings.max_choices, catalog)?;
        let echo = fields.flag("echo")?;
        let logprobs = match fields.get("logprobs") {
            Some(Value::Bool(wanted)) => wanted.then_some(1),
            _ => fields.count("logprobs", 0, MOST_LOGPROBS)?,
        };
        let output = OutputOptions { logprobs, prompt: echo, explain: params.explain };
        Self { params, prompts, echo, output }.checked(COMPLETION_TOKENS, catalog, settings)
    }

    /// Reads the body of `/v1/chat/completions`.
    ///
    /// # Errors
    /// [`ApiError`] names the field at fault.
    pub(crate) fn chat(fields: &Fields, catalog: &Catalog, settings: &Settings) -> Result<Self, ApiError> {
        let params = CompletionParams::read(fields, catalog, settings)?;
        let prompts = vec![conversation(fields, catalog, &params.weights)?];
        let alternatives = fields.count("top_logprobs", 0, MOST_LOGPROBS)?;
        let wanted = fields.flag("logprobs")?;
        if alternatives.is_some_and(|count| count > 0) && !wanted {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs`: true"));
        }
        let logprobs = wanted.then(|| alternatives.unwrap_or(0));
        let output = OutputOptions { logprobs, prompt: false, explain: params.explain };
        Self { params, prompts, echo: false, output }.checked(settings.max_tokens, catalog, settings)
    }

    fn checked(mut self, default: usize, catalog: &Catalog, settings: &Settings) -> Result<Self, ApiError> {
        let choices = self.prompts.len() * self.params.n;
        if choices > settings.max_choices {
            let most = settings.max_choices;
            return Err(ApiError::invalid(
                "n",
                format!("{choices} texts are asked for, at most {most} are written"),
            ));
        }
        let longest = self.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        // What is asked for explicitly must be possible; what is not stops at the end of the context.
        let tokens = self.params.max_tokens.unwrap_or_else(|| default.min(catalog.context() - longest));
        if longest + tokens > catalog.context() {
            let limit = catalog.context();
            let message = format!(
                "the context holds {limit} tokens, but the prompt has {longest} and `max_tokens` asks for {tokens}"
            );
            let code = Some("context_length_exceeded");
            return Err(ApiError { code, ..ApiError::invalid("max_tokens", message) });
        }
        for prompt in &self.prompts {
            prompt.check_readable(&self.params.weights, catalog)?;
        }
        self.params.config.max_new_tokens = tokens;
        Ok(self)
    }
}

/// The prompt that messages make by the template of the values in use.
pub(crate) fn conversation(fields: &Fields, catalog: &Catalog, weights: &[f64]) -> Result<Prompt, ApiError> {
    let wanted = || expected("messages", "a list of objects with `role` and `content`");
    let list = fields.get("messages").ok_or_else(wanted)?;
    if list.as_array().is_none_or(|list| list.is_empty() || list.len() > MOST_MESSAGES) {
        return Err(wanted());
    }
    let mut messages: Vec<Message> = serde_json::from_value(list.clone()).map_err(|_| wanted())?;
    for message in &mut messages {
        message.content = plain_text(&message.content).ok_or_else(|| {
            expected("messages", "of text: `content` is a string or a list of parts with `type`: \"text\"")
        })?;
    }
    let template = catalog.chat_template(weights).ok_or_else(|| {
        ApiError::invalid("messages", "this model has no chat template; use /v1/completions")
    })?;
    let mut options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    if let Some(Value::Object(extra)) = fields.get("chat_template_kwargs") {
        options.extra.clone_from(extra);
    }
    let text = template.render(&messages, &options).map_err(|error| {
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        ApiError::invalid("messages", format!("the model's chat template refuses these messages: {reason}"))
    })?;
    let named = |error: ApiError| ApiError { param: Some("messages".to_owned()), ..error };
    Prompt::from_text(&text, false, catalog).map_err(named)
}

/// The text of a message: a string, or parts that are all text. Nothing stays nothing (an assistant that only calls tools).
fn plain_text(content: &Value) -> Option<Value> {
    match content {
        Value::String(_) | Value::Null => Some(content.clone()),
        Value::Array(parts) => {
            let text =
                |part: &Value| (part["type"] == "text").then(|| part["text"].as_str())?.map(str::to_owned);
            parts.iter().map(text).collect::<Option<Vec<String>>>().map(|parts| Value::from(parts.concat()))
        }
        _ => None,
    }
}
