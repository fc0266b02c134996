//! Conversations, rendered by a chat template.

use ivl_models::{ChatTemplate, Message, RenderOptions, TemplateChoice};

use super::Model;
use crate::error::Result;

impl Model {
    /// Which template renders messages.
    pub fn template_choice(&self) -> &TemplateChoice {
        &self.options.chat_template
    }

    /// The template that [`OpenOptions::chat_template`](crate::OpenOptions::chat_template) chooses: unless set, the one that the
    /// first value was trained with, else the base's.
    ///
    /// # Errors
    /// [`NoChatTemplate`](crate::Error::NoChatTemplate), [`Chat`](crate::Error::Chat) for one that cannot be read.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        self.reader().chat_template()
    }

    /// The tokens of a conversation, up to the beginning of the assistant's turn.
    ///
    /// # Errors
    /// [`Chat`](crate::Error::Chat) for messages that the template does not render,
    /// [`Unreadable`](crate::Error::Unreadable).
    pub fn encode_chat(&self, messages: &[Message], template: &ChatTemplate) -> Result<Vec<u32>> {
        self.reader().encode_chat(messages, template)
    }

    /// The same with options of the rendering.
    pub(crate) fn encode_rendered(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        template: &ChatTemplate,
    ) -> Result<Vec<u32>> {
        self.reader().encode_rendered(messages, options, template)
    }
}
