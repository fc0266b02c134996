//! What values change in texts, demonstrations and answers.

use std::path::{Path, PathBuf};

use ivl_core::decode::GenerateConfig;
use ivl_core::score::{TokenExplanation, explain_from};
use ivl_models::{ChatTemplate, Message};
use ivl_train::{Conversation, Dataset, Demonstration, Encoder, Place, Row, Source, SourceConfig};

use crate::error::{Error, Result};
use crate::model::Model;

/// A text in tokens, and which of them are to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainTarget {
    /// Where it comes from, if it is one of several.
    pub origin: Option<String>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether each token is to be explained.
    pub wanted: Vec<bool>,
}

/// A text and what the values changed in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// Where the text comes from, if it is one of several.
    pub origin: Option<String>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What happened to each token that was to be explained; the first token of a text is predicted by nothing.
    pub tokens: Vec<Option<TokenExplanation>>,
}

impl Explanation {
    /// The tokens that are explained.
    pub fn explained(&self) -> impl Iterator<Item = &TokenExplanation> {
        self.tokens.iter().flatten()
    }

    /// Drops the first tokens, a prompt that was read before.
    pub fn drop_prompt(&mut self, tokens: usize) {
        self.ids.drain(..tokens);
        self.tokens.drain(..tokens);
    }
}

impl ExplainTarget {
    /// An answer to a prompt, of which the answer is explained.
    pub fn answer(prompt: &[u32], answer: &[u32]) -> Self {
        let wanted = (0..prompt.len() + answer.len()).map(|at| at >= prompt.len()).collect();
        Self { origin: None, ids: [prompt, answer].concat(), wanted }
    }
}

impl Model {
    /// A whole text.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn target_of_text(&self, text: &str) -> Result<ExplainTarget> {
        let ids = self.encode_text(text)?;
        Ok(ExplainTarget { origin: None, wanted: vec![true; ids.len()], ids })
    }

    /// The answer that the model gives to a prompt in tokens.
    ///
    /// # Errors
    /// As [`stream_tokens`](Self::stream_tokens).
    pub fn target_of_prompt(&self, prompt: &[u32], config: &GenerateConfig) -> Result<ExplainTarget> {
        let mut answer = Vec::new();
        for token in self.stream_tokens(&[prompt], config)? {
            answer.push(token?.token);
        }
        Ok(ExplainTarget::answer(prompt, &answer))
    }

    /// The assistant's turns of a conversation, or the model's answer if it is the assistant's turn.
    ///
    /// # Errors
    /// As [`encode_chat`](Self::encode_chat).
    pub fn target_of_chat(
        &self,
        messages: Vec<Message>,
        template: &ChatTemplate,
        config: &GenerateConfig,
    ) -> Result<ExplainTarget> {
        if messages.last().is_none_or(|last| last.role != "assistant") {
            return self.target_of_prompt(&self.encode_chat(&messages, template)?, config);
        }
        let encoder = Encoder::new(self.tokenizer(), Some(template), self.max_positions());
        let place = Place { path: PathBuf::from("messages"), unit: "conversation", number: 1 };
        let demonstration = Demonstration::Conversation(Conversation::new(messages));
        self.target_of_row(&encoder, &Row { place, demonstration })
    }

    /// The demonstrations of a file, of which the tokens that training would learn are explained.
    ///
    /// # Errors
    /// Rows that cannot be read, encoded, or read by a value.
    pub fn targets_of_file(&self, path: &Path) -> Result<Vec<ExplainTarget>> {
        let dataset = Dataset::open(&[SourceConfig::new(path)])?;
        // Texts and prompt-completion pairs need no template; a row that does need one is refused.
        let template = self.chat_template().ok();
        let encoder = Encoder::new(self.tokenizer(), template.as_ref(), self.max_positions());
        let mut targets = Vec::new();
        for row in dataset.sources.iter().flat_map(Source::rows) {
            let row = row?;
            let target = self.target_of_row(&encoder, &row)?;
            targets.push(ExplainTarget { origin: Some(row.place.to_string()), ..target });
        }
        Ok(targets)
    }

    fn target_of_row(&self, encoder: &Encoder<'_>, row: &Row) -> Result<ExplainTarget> {
        let example = encoder.encode(row)?;
        let bytes: Vec<u8> =
            example.ids.iter().flat_map(|&id| self.vocab().text_bytes(id)).copied().collect();
        self.check_readable(&String::from_utf8_lossy(&bytes))
            .map_err(|source| Error::At { place: row.place.to_string(), source: Box::new(source) })?;
        Ok(ExplainTarget { origin: None, ids: example.ids, wanted: example.learnt })
    }

    /// Reads a text and tells what the values change at the tokens that are to be explained.
    ///
    /// # Errors
    /// As [`ivl_core::score::explain`].
    pub fn explain_target(&self, target: ExplainTarget) -> Result<Explanation> {
        let ExplainTarget { origin, ids, wanted } = target;
        let first = wanted.iter().position(|wanted| *wanted).unwrap_or(ids.len());
        let explained = explain_from(self.lm(), &ids, first);
        let mut tokens = explained.map_err(|error| Error::At {
            place: format!("explaining {}", origin.as_deref().unwrap_or("the text")),
            source: Box::new(error.into()),
        })?;
        for (token, wanted) in tokens.iter_mut().zip(&wanted) {
            *token = token.take().filter(|_| *wanted);
        }
        Ok(Explanation { origin, ids, tokens })
    }
}
