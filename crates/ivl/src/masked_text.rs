//! Texts, demonstrations and answers in tokens, with a mask of the tokens that count.

use std::path::{Path, PathBuf};

use ivl_core::decode::GenerateConfig;
use ivl_core::score::{Score, TokenExplanation, explain_from};
use ivl_models::{ChatTemplate, Message};
use ivl_train::{Conversation, Dataset, Demonstration, Encoder, Place, Row, Source, SourceConfig};

use crate::error::{Error, Result};
use crate::model::{Model, TextReader};

/// A text in tokens, with a mask of those that are scored or explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaskedText {
    /// Where it comes from, if it is one of several.
    pub origin: Option<String>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether each token is scored or explained.
    pub mask: Vec<bool>,
}

/// A text and what the values changed in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// Where the text comes from, if it is one of several.
    pub origin: Option<String>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The change at each token of the mask; nothing predicts the first token of a text.
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

impl MaskedText {
    /// An answer to a prompt; the mask has the answer.
    pub fn answer(prompt: &[u32], answer: &[u32]) -> Self {
        let mask = (0..prompt.len() + answer.len()).map(|at| at >= prompt.len()).collect();
        Self { origin: None, ids: [prompt, answer].concat(), mask }
    }
}

impl TextReader<'_> {
    /// A whole text, all of whose tokens count.
    ///
    /// # Errors
    /// As [`encode_text`](Self::encode_text).
    pub fn masked_text(&self, text: &str) -> Result<MaskedText> {
        let ids = self.encode_text(text)?;
        Ok(MaskedText { origin: None, mask: vec![true; ids.len()], ids })
    }

    /// A conversation; the mask has the assistant's turns.
    ///
    /// # Errors
    /// As [`masked_rows`](Self::masked_rows).
    pub fn masked_conversation(&self, messages: Vec<Message>, template: &ChatTemplate) -> Result<MaskedText> {
        let encoder = Encoder::new(self.tokenizer(), Some(template), usize::MAX);
        let place = Place { path: PathBuf::from("messages"), unit: "conversation", number: 1 };
        let demonstration = Demonstration::Conversation(Conversation::new(messages));
        self.masked_row(&encoder, &Row { place, demonstration })
    }

    /// The rows of a file in any format of demonstrations; the mask has the tokens that training learns.
    ///
    /// # Errors
    /// Rows that cannot be read, encoded, or read by the base or a value.
    pub fn masked_rows(&self, path: &Path) -> Result<Vec<MaskedText>> {
        self.masked_dataset(&Dataset::open(&[SourceConfig::new(path)])?)
    }

    /// The rows of a dataset, as [`masked_rows`](Self::masked_rows) gives them.
    pub(crate) fn masked_dataset(&self, dataset: &Dataset) -> Result<Vec<MaskedText>> {
        // Texts and prompt-completion pairs need no template; a row that does need one is refused.
        let template = self.chat_template().ok();
        let encoder = Encoder::new(self.tokenizer(), template.as_ref(), usize::MAX);
        let mut texts = Vec::new();
        for row in dataset.sources.iter().flat_map(Source::rows) {
            let row = row?;
            let text = self.masked_row(&encoder, &row)?;
            texts.push(MaskedText { origin: Some(row.place.to_string()), ..text });
        }
        Ok(texts)
    }

    fn masked_row(&self, encoder: &Encoder<'_>, row: &Row) -> Result<MaskedText> {
        let example = encoder.encode(row)?;
        let bytes: Vec<u8> =
            example.ids.iter().flat_map(|&id| self.vocab().text_bytes(id)).copied().collect();
        let readable = self.check_readable(&String::from_utf8_lossy(&bytes));
        readable
            .and_then(|()| self.check_text(&example.ids))
            .map_err(|source| Error::At { place: row.place.to_string(), source: Box::new(source) })?;
        Ok(MaskedText { origin: None, ids: example.ids, mask: example.loss_mask })
    }
}

impl Model {
    /// A prompt in tokens and the answer that the model gives; the mask has the answer.
    ///
    /// # Errors
    /// As [`stream_tokens`](Self::stream_tokens).
    pub fn masked_answer(&self, prompt: &[u32], config: &GenerateConfig) -> Result<MaskedText> {
        let mut answer = Vec::new();
        for token in self.stream_tokens(&[prompt], config)? {
            answer.push(token?.token);
        }
        Ok(MaskedText::answer(prompt, &answer))
    }

    /// Reads a text and returns the changes by the values at the tokens of its mask.
    ///
    /// # Errors
    /// As [`ivl_core::score::explain`].
    pub fn explain_masked(&self, text: MaskedText) -> Result<Explanation> {
        let MaskedText { origin, ids, mask } = text;
        let first = mask.iter().position(|&counts| counts).unwrap_or(ids.len());
        let explained = explain_from(self.lm(), &ids, first);
        let mut tokens = explained.map_err(|error| Error::At {
            place: format!("explaining {}", origin.as_deref().unwrap_or("the text")),
            source: Box::new(error.into()),
        })?;
        for (token, &counts) in tokens.iter_mut().zip(&mask) {
            *token = token.take().filter(|_| counts);
        }
        Ok(Explanation { origin, ids, tokens })
    }

    /// The log-probabilities of the tokens of a mask, in one batch; other tokens have none.
    ///
    /// # Errors
    /// As [`score_tokens`](Self::score_tokens).
    pub fn score_masked(&self, texts: &[MaskedText]) -> Result<Vec<Score>> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let mut scores = self.score_tokens(&ids)?;
        for (score, text) in scores.iter_mut().zip(texts) {
            for (logprob, &counts) in score.logprobs.iter_mut().zip(&text.mask) {
                *logprob = logprob.filter(|_| counts);
            }
        }
        Ok(scores)
    }
}
