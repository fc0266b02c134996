//! Bodies of requests, read and checked: everything that can be refused is refused here, before the engine gets a job.

mod completion_params;
mod conversation;
mod fields;
mod fuzz;
mod prompt;
mod sampling;
mod stops;
mod structure;
mod tools;
mod unsupported;
mod values;

pub(crate) use completion_params::CompletionParams;
pub(crate) use conversation::conversation;
pub(crate) use fields::{Fields, expected, ids};
pub use fuzz::fuzz_request;
pub(crate) use prompt::Prompt;
pub(crate) use values::values;

use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::engine::OutputOptions;
use crate::settings::Settings;

/// Maximum number of alternatives per position that a client may request.
const MOST_LOGPROBS: usize = 20;

/// New tokens of a completion that gives no limit, as in the OpenAI API.
const COMPLETION_TOKENS: usize = 16;

/// A request for continuations.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Everything but the prompts.
    pub(crate) params: CompletionParams,
    /// At least one.
    pub(crate) prompts: Vec<Prompt>,
    /// Begin the text with the prompt.
    pub(crate) echo: bool,
    /// What to report besides the text.
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
        refuse_best_of(fields, &params)?;
        let prompts = Prompt::read_all(fields.get("prompt"), settings.max_choices, catalog)?;
        let echo = fields.flag("echo")?;
        let logprobs = match fields.get("logprobs") {
            Some(Value::Bool(wanted)) => wanted.then_some(1),
            _ => fields.count("logprobs", 0, MOST_LOGPROBS)?,
        };
        refuse_fields_of_chats(fields)?;
        let prompt_logprobs = prompt_logprobs(fields, &params)?;
        let output = OutputOptions { logprobs, echo, prompt_logprobs, explain: params.explain };
        Self { params, prompts, echo, output }.checked(COMPLETION_TOKENS, catalog, settings)
    }

    /// Reads the body of `/v1/chat/completions`.
    ///
    /// # Errors
    /// [`ApiError`] names the field at fault.
    pub(crate) fn chat(fields: &Fields, catalog: &Catalog, settings: &Settings) -> Result<Self, ApiError> {
        let params = CompletionParams::read(fields, catalog, settings)?;
        refuse_flag(fields, "add_special_tokens", true)?;
        refuse_flag(fields, "echo", true)?;
        refuse_best_of(fields, &params)?;
        let prompts = vec![conversation(fields, catalog, &params.weights)?];
        let alternatives = fields.count("top_logprobs", 0, MOST_LOGPROBS)?;
        let wanted = fields.flag("logprobs")?;
        if alternatives.is_some_and(|count| count > 0) && !wanted {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs`: true"));
        }
        let logprobs = wanted.then(|| alternatives.unwrap_or(0));
        let prompt_logprobs = prompt_logprobs(fields, &params)?;
        let output = OutputOptions { logprobs, echo: false, prompt_logprobs, explain: params.explain };
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
        // An explicit limit must be possible; the default limit is the end of the context.
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

/// Refuses what only a chat can do.
fn refuse_fields_of_chats(fields: &Fields) -> Result<(), ApiError> {
    refuse_flag(fields, "add_special_tokens", false)?;
    refuse_flag(fields, "continue_final_message", true)?;
    for name in ["tools", "messages", "chat_template_kwargs"] {
        if fields.get(name).is_some_and(|value| *value != json!([]) && *value != json!({})) {
            return Err(ApiError::invalid(name, format!("`{name}` is a field of /v1/chat/completions")));
        }
    }
    Ok(())
}

/// Refuses a flag that has this value.
fn refuse_flag(fields: &Fields, name: &str, value: bool) -> Result<(), ApiError> {
    match fields.get(name).is_some() && fields.flag(name)? == value {
        true => Err(ApiError::invalid(name, format!("`{name}`: {value} is not supported"))),
        false => Ok(()),
    }
}

fn refuse_best_of(fields: &Fields, params: &CompletionParams) -> Result<(), ApiError> {
    match fields.count("best_of", 1, usize::MAX)? {
        Some(best) if best != params.n => {
            Err(ApiError::invalid("best_of", "`best_of` other than `n` is not supported"))
        }
        _ => Ok(()),
    }
}

/// `prompt_logprobs`: alternatives at each place of the prompt.
fn prompt_logprobs(fields: &Fields, params: &CompletionParams) -> Result<Option<usize>, ApiError> {
    let count = fields.count("prompt_logprobs", 0, MOST_LOGPROBS)?;
    if count.is_some() && params.stream {
        return Err(ApiError::invalid("prompt_logprobs", "`prompt_logprobs` cannot be streamed"));
    }
    Ok(count)
}
