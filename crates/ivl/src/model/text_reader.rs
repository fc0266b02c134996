//! Texts, conversations and demonstrations in tokens, for a base with values: what needs their files, but no weights.

use std::path::Path;

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::Retokenizer;
use ivl_core::tokens::check_ids;
use ivl_models::{ChatTemplate, Message, RenderOptions, TemplateChoice, Tokenizer};

use super::chat_template::find_template;
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// Turns texts into the tokens of a base, and refuses those that the base or a value cannot read.
///
/// ```
/// let prepared = ivl::Model::builder("../../examples/first-value/large").prepare()?;
/// assert!(!prepared.reader().encode_prompt("Suna lives in")?.is_empty());
/// assert!(prepared.reader().encode_prompt(&"Suna ".repeat(100_000)).is_err());
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Clone)]
pub struct TextReader<'a> {
    base: &'a OpenCheckpoint,
    values: Vec<ValueReader<'a>>,
    template: &'a TemplateChoice,
}

/// How one value reads texts.
#[derive(Clone, Copy)]
pub(super) struct ValueReader<'a> {
    pub(super) path: &'a Path,
    /// Its tokenizer, if it does not read the base's tokens.
    pub(super) own_tokens: Option<&'a Tokenizer>,
    /// The number of tokens that it can read.
    pub(super) max_positions: usize,
}

impl ValueReader<'_> {
    /// Refuses a text that the value cannot read in its own tokens.
    pub(super) fn check(&self, text: &str) -> Result<()> {
        let Some(tokenizer) = self.own_tokens else { return Ok(()) };
        let value = self.path.display().to_string();
        let unreadable = |source| Error::Unreadable { value: value.clone(), source: Box::new(source) };
        let got = tokenizer.tokenize(text).map_err(unreadable)?.len();
        let limit = self.max_positions;
        if got > limit {
            return Err(ivl_core::Error::TextTooLong { got, limit, what: value }.into());
        }
        Ok(())
    }
}

impl<'a> TextReader<'a> {
    pub(super) fn new(
        base: &'a OpenCheckpoint,
        values: Vec<ValueReader<'a>>,
        template: &'a TemplateChoice,
    ) -> Self {
        Self { base, values, template }
    }

    /// The base's tokenizer.
    pub(crate) fn tokenizer(&self) -> &'a Tokenizer {
        &self.base.tokenizer
    }

    /// The token of each logit.
    pub(crate) fn vocab(&self) -> &'a Vocab {
        &self.base.vocab
    }

    /// The number of tokens that the base, and the values that read its tokens, can read.
    pub fn max_positions(&self) -> usize {
        self.limit().0
    }

    /// The same, and the directory of the model that can read the fewest.
    fn limit(&self) -> (usize, &Path) {
        let base = (self.base.max_positions(), self.base.path.as_path());
        let values = self.values.iter().filter(|value| value.own_tokens.is_none());
        values.fold(base, |least, value| match value.max_positions < least.0 {
            true => (value.max_positions, value.path),
            false => least,
        })
    }

    /// The chat template: see [`Model::chat_template`](crate::Model::chat_template).
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`], [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        let values: Vec<&Path> = self.values.iter().map(|value| value.path).collect();
        find_template(self.template, &self.base.path, &values)
    }

    /// Refuses a text that a value cannot read in its own tokens.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn check_readable(&self, text: &str) -> Result<()> {
        self.values.iter().try_for_each(|value| value.check(text))
    }

    /// The tokens of a whole text.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`ivl_core::Error::TokenOutOfRange`], [`ivl_core::Error::TextTooLong`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        self.check_readable(text)?;
        let ids = self.base.tokenizer.encode(text, true)?;
        self.check_text(&ids)?;
        Ok(ids)
    }

    /// The tokens of a text that is to be continued. An empty text is continued where the tokenizer begins every text with a
    /// token of its own.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] if there is no token, [`Error::Unreadable`], [`ivl_core::Error::TokenOutOfRange`],
    /// [`ivl_core::Error::PromptTooLong`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.check_readable(text)?;
        self.checked_prompt(self.base.tokenizer.encode(text, true)?)
    }

    /// The tokens of a conversation, up to the beginning of the assistant's turn.
    ///
    /// # Errors
    /// [`Error::Chat`] for messages that the template does not render, and as [`encode_prompt`](Self::encode_prompt).
    pub fn encode_chat(&self, messages: &[Message], template: &ChatTemplate) -> Result<Vec<u32>> {
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        self.encode_rendered(messages, &options, template)
    }

    /// The same with options of the rendering.
    pub(crate) fn encode_rendered(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        template: &ChatTemplate,
    ) -> Result<Vec<u32>> {
        let text = template.render(messages, options)?;
        self.check_readable(&text)?;
        self.checked_prompt(self.base.tokenizer.encode(&text, false)?)
    }

    /// A prompt that has a token and leaves room for one more.
    fn checked_prompt(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.check_ids(&ids)?;
        let ((limit, dir), got) = (self.limit(), ids.len());
        if got >= limit {
            let what = dir.display().to_string();
            return Err(ivl_core::Error::PromptTooLong { got, limit, what }.into());
        }
        Ok(ids)
    }

    /// Refuses tokens that the model has no logit for, and more of them than it can read.
    pub(crate) fn check_text(&self, ids: &[u32]) -> Result<()> {
        self.check_ids(ids)?;
        let ((limit, dir), got) = (self.limit(), ids.len());
        if got > limit {
            return Err(ivl_core::Error::TextTooLong { got, limit, what: dir.display().to_string() }.into());
        }
        Ok(())
    }

    /// Refuses tokens that the model has no logit for.
    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        // A text without tokens is one that has nothing to score.
        if ids.is_empty() { Ok(()) } else { Ok(check_ids(ids, &self.base.vocab)?) }
    }
}
