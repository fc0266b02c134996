//! Answers in the shapes of the OpenAI API, whole or in chunks.

mod chat;
mod completion;
mod token;

pub(crate) use token::explained;
pub use token::explained_json;

use ivl_core::decode::FinishReason;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::catalog::Catalog;
use crate::engine::{EngineEvent, Scored};
use crate::request::Request;

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
}

impl Answer {
    pub(crate) fn new(style: Style, request: Request, created: u64) -> Self {
        let prefix = match style {
            Style::Completion => "cmpl",
            Style::Chat => "chatcmpl",
        };
        let choices = (0..request.prompts.len() * request.params.n).map(|choice| Choice {
            offset: request.prompts[choice / request.params.n].text.chars().count()
                * usize::from(request.echo),
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
    pub(crate) fn take(&mut self, event: EngineEvent) -> Result<std::ops::Range<usize>, ApiError> {
        match event {
            EngineEvent::Prompt { first, tokens, cached } => {
                self.cached += cached;
                let about = first..first + self.request.params.n;
                let nothing_follows = self.request.params.config.max_new_tokens == 0;
                for choice in &mut self.choices[about.clone()] {
                    choice.prompt = tokens.len();
                    choice.tokens.clone_from(&tokens);
                    if self.request.echo {
                        choice.text.clone_from(&self.request.prompts[first / self.request.params.n].text);
                    }
                    choice.finish = nothing_follows.then_some(FinishReason::Length);
                }
                Ok(about)
            }
            EngineEvent::Token { choice, token, text, finish } => {
                self.written += 1;
                let state = &mut self.choices[choice];
                state.tokens.push(token);
                state.text.push_str(&text);
                state.finish = finish;
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
            frame["usage"] = Value::Null;
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
        let finish = choice.finish.map(FinishReason::as_str);
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
                let message = if chunk { chat::delta(&text, !choice.begun) } else { chat::message(&text) };
                let place = if chunk { "delta" } else { "message" };
                json!({"index": index, place: message, "logprobs": logprobs, "finish_reason": finish})
            }
        };
        if self.request.params.explain {
            let names = catalog.used(&self.request.params.weights);
            let tokens: Vec<Value> = tokens.iter().map(|token| explained(vocab, token, &names)).collect();
            object["ivl"] = json!({"explain": tokens});
        }
        object
    }
}
