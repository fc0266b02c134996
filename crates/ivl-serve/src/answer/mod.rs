//! Answers in the shapes of the OpenAI API, whole or in chunks.

mod chat;
mod completion;
mod token;

pub(crate) use token::explained;
pub use token::explained_json;
use token::prompt_logprobs;

use std::ops::Range;

use ivl_core::Vocab;
use ivl_core::decode::FinishReason;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::engine::{EngineEvent, Scored};
use crate::request::Request;
use crate::tools::{ToolCall, ToolStream};

/// Which endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `/v1/completions`
    Completion,
    /// `/v1/chat/completions`
    Chat,
}

/// The answer to a request, as it grows.
pub(crate) struct Answer {
    style: Style,
    id: String,
    created: u64,
    request: Request,
    choices: Vec<Choice>,
    cached: usize,
    written: usize,
}

/// One text.
#[derive(Debug, Clone, Default)]
struct Choice {
    /// Tokens not yet sent.
    tokens: Vec<Scored>,
    /// Text not yet sent.
    text: String,
    /// How many of `tokens` are of the prompt.
    prompt: usize,
    /// Where the next token begins, in characters.
    offset: usize,
    begun: bool,
    finish: Option<FinishReason>,
    /// The stop string or the token of `stop_token_ids` that ended the text.
    stop_reason: Value,
    /// Separates calls of tools from the text.
    tools: Option<ToolStream>,
    /// Calls, once the text has ended.
    calls: Vec<ToolCall>,
    /// What was asked for by `prompt_logprobs`.
    prompt_logprobs: Value,
}

impl Choice {
    /// Adds text that came with a token; with tools, what may be a call is kept back.
    fn add_text(&mut self, mut text: String, token: u32, vocab: &Vocab) {
        if let Some(tools) = &mut self.tools {
            let control = vocab.token(token).filter(|token| token.is_control());
            let name = control.and_then(|token| std::str::from_utf8(&token.bytes).ok());
            text += name.filter(|name| tools.is_mark(name)).unwrap_or_default();
            text = tools.push(&text);
            if self.finish.is_some() {
                let (rest, calls) = tools.finish();
                text += &rest;
                self.calls = calls;
            }
        }
        self.text += &text;
    }

    /// `is_named` if the client named the function that is called: then the answer ends as others do, as in the OpenAI API.
    fn finish_reason(&self, is_named: bool) -> Option<&'static str> {
        match self.finish? {
            FinishReason::Stop if !self.calls.is_empty() && !is_named => Some("tool_calls"),
            finish => Some(finish.as_str()),
        }
    }
}

impl Answer {
    pub(crate) fn new(style: Style, request: Request, created: u64, catalog: &Catalog) -> Self {
        let prefix = match style {
            Style::Completion => "cmpl",
            Style::Chat => "chatcmpl",
        };
        let params = &request.params;
        let tools = params.tools.stream(catalog.chat_template(&params.weights));
        let choices = (0..request.prompts.len() * request.params.n).map(|choice| Choice {
            offset: request.prompts[choice / request.params.n].text.chars().count()
                * usize::from(request.echo),
            tools: tools.clone(),
            ..Choice::default()
        });
        let choices = choices.collect();
        Self {
            style,
            id: format!("{prefix}-{:032x}", rand::random::<u128>()),
            created,
            request,
            choices,
            cached: 0,
            written: 0,
        }
    }

    /// Takes in an event; returns the choices that it is about.
    pub(crate) fn take(&mut self, event: EngineEvent, catalog: &Catalog) -> Result<Range<usize>, ApiError> {
        match event {
            EngineEvent::Prompt { first, mut tokens, cached } => {
                self.cached += cached;
                let about = first..first + self.request.params.n;
                let nothing_follows = self.request.params.config.max_new_tokens == 0;
                let output = self.request.output;
                let listed = match output.prompt_logprobs {
                    Some(count) => prompt_logprobs(catalog.vocab(), &tokens, count),
                    None => Value::Null,
                };
                // There may be more alternatives for the list of the prompt than for the echo.
                for token in &mut tokens {
                    token.top.truncate(output.logprobs.unwrap_or(0));
                }
                for choice in &mut self.choices[about.clone()] {
                    choice.prompt_logprobs.clone_from(&listed);
                    if self.request.echo {
                        if output.logprobs.is_some() || output.explain {
                            choice.prompt = tokens.len();
                            choice.tokens.clone_from(&tokens);
                        }
                        choice.text.clone_from(&self.request.prompts[first / self.request.params.n].text);
                    }
                    choice.finish = nothing_follows.then_some(FinishReason::Length);
                }
                Ok(about)
            }
            EngineEvent::Token { choice, token, text, finish, stop_string } => {
                self.written += 1;
                let state = &mut self.choices[choice];
                state.finish = finish;
                state.stop_reason = match stop_string {
                    Some(stop) => stop.into(),
                    None if finish == Some(FinishReason::Stop) => {
                        self.request.params.stop_token(token.id).into()
                    }
                    None => Value::Null,
                };
                state.add_text(text, token.id, catalog.vocab());
                state.tokens.push(token);
                Ok(choice..choice + 1)
            }
            EngineEvent::Failed(error) => Err(error.into()),
        }
    }

    /// Whether every text has ended.
    pub(crate) fn ended(&self) -> bool {
        self.choices.iter().all(|choice| choice.finish.is_some())
    }

    /// The whole answer.
    pub(crate) fn whole(mut self, catalog: &Catalog) -> Value {
        let choices: Vec<Value> =
            (0..self.choices.len()).map(|choice| self.choice(choice, false, catalog)).collect();
        let mut answer = self.frame(choices, false);
        answer["usage"] = self.usage();
        answer
    }

    /// The chunk that a stream sends about a choice now; `None` if there is nothing to send yet.
    pub(crate) fn chunk(&mut self, choice: usize, catalog: &Catalog) -> Option<Value> {
        let state = &self.choices[choice];
        let told = self.request.output.logprobs.is_some() || self.request.params.explain;
        let first = self.style == Style::Chat && !state.begun;
        let news =
            first || !state.text.is_empty() || state.finish.is_some() || (told && !state.tokens.is_empty());
        if !news {
            self.choices[choice].tokens.clear();
            return None;
        }
        let piece = self.choice(choice, true, catalog);
        let state = &mut self.choices[choice];
        (state.begun, state.prompt) = (true, 0);
        Some(self.frame(vec![piece], true))
    }

    /// The last chunk of a stream whose client requested the usage.
    pub(crate) fn last_chunk(&self) -> Option<Value> {
        self.request.params.include_usage.then(|| {
            let mut chunk = self.frame(Vec::new(), true);
            chunk["usage"] = self.usage();
            chunk
        })
    }

    fn frame(&self, choices: Vec<Value>, chunk: bool) -> Value {
        let object = match (self.style, chunk) {
            (Style::Completion, _) => "text_completion",
            (Style::Chat, false) => "chat.completion",
            (Style::Chat, true) => "chat.completion.chunk",
        };
        let mut frame = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.request.params.model,
            "choices": choices,
        });
        if chunk && self.request.params.include_usage {
            frame["usage"] = if self.request.params.continuous_usage { self.usage() } else { Value::Null };
        }
        frame
    }

    fn usage(&self) -> Value {
        let prompt: usize = self.request.prompts.iter().map(|prompt| prompt.ids.len()).sum();
        json!({
            "prompt_tokens": prompt, "completion_tokens": self.written, "total_tokens": prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }

    /// A choice with the part of it that was not sent yet.
    fn choice(&mut self, index: usize, chunk: bool, catalog: &Catalog) -> Value {
        let vocab = catalog.vocab();
        let prompt = &self.request.prompts[index / self.request.params.n];
        let choice = &mut self.choices[index];
        let tokens = std::mem::take(&mut choice.tokens);
        let text = std::mem::take(&mut choice.text);
        let finish = choice.finish_reason(self.request.params.tools.is_named());
        let stop_reason = choice.stop_reason.take();
        let calls = std::mem::take(&mut choice.calls);
        let mut object = match self.style {
            Style::Completion => {
                let logprobs =
                    self.request.output.logprobs.map(|_| {
                        completion::logprobs(vocab, &tokens, choice.prompt, prompt, &mut choice.offset)
                    });
                json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})
            }
            Style::Chat => {
                let logprobs = self.request.output.logprobs.map(|_| chat::logprobs(vocab, &tokens));
                let message = match chunk {
                    true => chat::delta(&text, &calls, !choice.begun),
                    false => chat::message(&text, &calls),
                };
                let place = if chunk { "delta" } else { "message" };
                json!({"index": index, place: message, "logprobs": logprobs, "finish_reason": finish})
            }
        };
        object["stop_reason"] = stop_reason;
        if !choice.prompt_logprobs.is_null() {
            object["prompt_logprobs"] = choice.prompt_logprobs.take();
        }
        if self.request.params.explain {
            let names = catalog.used(&self.request.params.weights);
            let tokens: Vec<Value> = tokens.iter().map(|token| explained(vocab, token, &names)).collect();
            object["ivl"] = json!({"explain": tokens});
        }
        object
    }
}
