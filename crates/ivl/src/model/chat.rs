//! Conversations, rendered by a chat template.

use ivl_models::{ChatTemplate, Message, RenderOptions};

use super::Model;
use crate::error::{Error, Result};

impl Model {
    /// The template that the first value was trained with, else the base's.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`], [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        for value in &self.values {
            if let Some(template) = value.chat_template()? {
                return Ok(template);
            }
        }
        let base = self.base_dir();
        ChatTemplate::from_dir(base)?.ok_or_else(|| Error::NoChatTemplate { base: base.to_owned() })
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
