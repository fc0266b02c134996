//! Conversations, rendered by a chat template.

use std::path::Path;

use ivl_models::{ChatTemplate, Message, RenderOptions, TemplateChoice};

use super::chat_template::find_template;
use super::{AttachedValue, Model};
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
        let values: Vec<&Path> = self.values.iter().map(AttachedValue::dir).collect();
        find_template(&self.options.chat_template, self.base_dir(), &values)
    }

    /// The tokens of a conversation, up to the beginning of the assistant's turn.
    ///
    /// # Errors
    /// [`Chat`](crate::Error::Chat) for messages that the template does not render,
    /// [`Unreadable`](crate::Error::Unreadable).
    pub fn encode_chat(&self, messages: &[Message], template: &ChatTemplate) -> Result<Vec<u32>> {
        self.encode_conversation(messages, None, template)
    }

    /// The same with tools.
    pub(crate) fn encode_conversation(
        &self,
        messages: &[Message],
        tools: Option<Vec<serde_json::Value>>,
        template: &ChatTemplate,
    ) -> Result<Vec<u32>> {
        let options = RenderOptions { add_generation_prompt: true, tools, ..RenderOptions::default() };
        let text = template.render(messages, &options)?;
        self.check_readable(&text)?;
        Ok(self.tokenizer().encode(&text, false)?)
    }
}
