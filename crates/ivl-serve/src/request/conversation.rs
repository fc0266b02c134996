//! Conversations: messages and tools, rendered by the chat template.

use ivl_models::{Message, RenderOptions};
use serde_json::Value;

use super::fields::{Fields, expected};
use super::prompt::Prompt;
use super::tools::Tools;
use crate::api_error::ApiError;
use crate::catalog::Catalog;

/// Messages of a conversation.
const MOST_MESSAGES: usize = 4096;

/// Marks the end of the message that is to be continued.
const CONTINUE: &str = "IVL_CONTINUE_FINAL_MESSAGE ";

/// The prompt that messages make by the template of the values in use.
pub(crate) fn conversation(fields: &Fields, catalog: &Catalog, weights: &[f64]) -> Result<Prompt, ApiError> {
    let template = catalog.chat_template(weights).ok_or_else(|| {
        ApiError::invalid("messages", "this model has no chat template; use /v1/completions")
    })?;
    let mut messages = messages(fields)?;
    let continues = fields.flag("continue_final_message")?;
    let generation_prompt = fields.flag_or("add_generation_prompt", !continues)?;
    if continues && generation_prompt {
        return Err(ApiError::invalid(
            "add_generation_prompt",
            "`continue_final_message` and `add_generation_prompt` exclude each other",
        ));
    }
    let mut options = RenderOptions { add_generation_prompt: generation_prompt, ..RenderOptions::default() };
    options.tools = Tools::read(fields)?.for_template(template)?;
    if let Some(extra) = fields.object("chat_template_kwargs")? {
        options.extra = extra.into_map();
    }
    if continues {
        mark_end(&mut messages)?;
    }
    let text = template
        .render(&messages, &options)
        .map_err(|error| ApiError::invalid("messages", error.without_path()))?;
    let text = if continues { cut_at_mark(&text)? } else { &text };
    let named = |error: ApiError| ApiError { param: Some("messages".to_owned()), ..error };
    Prompt::from_text(text, false, catalog).map_err(named)
}

fn messages(fields: &Fields) -> Result<Vec<Message>, ApiError> {
    let wanted = || expected("messages", "a list of objects with `role` and `content`");
    let list = fields.get("messages").ok_or_else(wanted)?;
    if list.as_array().is_none_or(|list| list.is_empty() || list.len() > MOST_MESSAGES) {
        return Err(wanted());
    }
    let messages: Vec<Message> = serde_json::from_value(list.clone()).map_err(|_| wanted())?;
    let is_content = |content: &Value| content.is_string() || content.is_array() || content.is_null();
    if !messages.iter().all(|message| is_content(&message.content)) {
        return Err(expected(
            "messages",
            "of text: `content` is a string or a list of parts with `type`: \"text\"",
        ));
    }
    Ok(messages)
}

/// Puts the mark at the end of the final message: of its last part, if it has several.
fn mark_end(messages: &mut [Message]) -> Result<(), ApiError> {
    let last = messages.last_mut().filter(|message| message.role == "assistant");
    let text = last.and_then(|message| match &mut message.content {
        Value::Array(parts) => parts.last_mut()?.get_mut("text"),
        content => Some(content),
    });
    let Some(Value::String(text)) = text else {
        let message = "the final message is not a text of the assistant";
        return Err(ApiError::invalid("continue_final_message", message));
    };
    if text.contains(CONTINUE.trim_end()) {
        return Err(expected("messages", "without the mark that ivl puts at the end of the final message"));
    }
    text.push_str(CONTINUE);
    Ok(())
}

/// The rendered text up to the mark. If the template trims the message, blanks before the mark go too, as in transformers.
fn cut_at_mark(text: &str) -> Result<&str, ApiError> {
    let at = text.rfind(CONTINUE.trim_end()).ok_or_else(|| {
        ApiError::invalid("continue_final_message", "the chat template does not show the final message")
    })?;
    Ok(if text[at..].starts_with(CONTINUE) { &text[..at] } else { text[..at].trim_end() })
}
