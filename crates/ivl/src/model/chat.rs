//! Conversations, rendered by a chat template.

use std::path::Path;

use ivl_models::{ChatError, ChatTemplate, Message, RenderOptions};

use super::Model;
use crate::error::{Error, Result};

impl Model {
    /// The template that [`OpenOptions::chat_template`](crate::OpenOptions::chat_template) chooses: unless set, the one that the
    /// first value was trained with, else the base's.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`], [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        let base = self.base_dir();
        let values: Vec<&Path> = self.values.iter().map(|value| value.dir()).collect();
        self.options.chat_template.find(base, &values).map_err(|error| match error {
            ChatError::NoTemplate { .. } => Error::NoChatTemplate { base: base.to_owned() },
            error => error.into(),
        })
    }

    /// The tokens of a conversation, up to the beginning of the assistant's turn.
    ///
    /// # Errors
    /// [`Error::Chat`] for messages that the template does not render, [`Error::Unreadable`].
    pub fn encode_chat(&self, messages: &[Message], template: &ChatTemplate) -> Result<Vec<u32>> {
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let text = template.render(messages, &options)?;
        self.check_readable(&text)?;
        Ok(self.tokenizer().encode(&text, false)?)
    }
}
