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
    let text = template.render(&messages, &options).map_err(refused)?;
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
    let mut messages: Vec<Message> = serde_json::from_value(list.clone()).map_err(|_| wanted())?;
    for message in &mut messages {
        message.content = plain_text(&message.content).ok_or_else(|| {
            expected("messages", "of text: `content` is a string or a list of parts with `type`: \"text\"")
        })?;
    }
    Ok(messages)
}

/// The text of a message: a string, or parts that are all text. Null stays null (an assistant that only calls tools).
fn plain_text(content: &Value) -> Option<Value> {
    match content {
        Value::String(_) | Value::Null => Some(content.clone()),
        Value::Array(parts) => {
            let text =
                |part: &Value| (part["type"] == "text").then(|| part["text"].as_str())?.map(str::to_owned);
            parts.iter().map(text).collect::<Option<Vec<String>>>().map(|parts| Value::from(parts.concat()))
        }
        _ => None,
    }
}

/// Puts the mark at the end of the final message.
fn mark_end(messages: &mut [Message]) -> Result<(), ApiError> {
    let last = messages.last_mut().expect("there is a message");
    let text = last.content.as_str().filter(|_| last.role == "assistant").ok_or_else(|| {
        ApiError::invalid("continue_final_message", "the final message is not a text of the assistant")
    })?;
    if text.contains(CONTINUE.trim_end()) {
        return Err(expected("messages", "without the mark that ivl puts at the end of the final message"));
    }
    last.content = format!("{text}{CONTINUE}").into();
    Ok(())
}

/// The rendered text up to the mark. If the template trims the message, blanks before the mark go too, as in transformers.
fn cut_at_mark(text: &str) -> Result<&str, ApiError> {
    let at = text.rfind(CONTINUE.trim_end()).ok_or_else(|| {
        ApiError::invalid("continue_final_message", "the chat template does not show the final message")
    })?;
    Ok(if text[at..].starts_with(CONTINUE) { &text[..at] } else { text[..at].trim_end() })
}

/// What the template says about messages that it does not take, for example by `raise_exception`.
fn refused(error: ivl_models::ChatError) -> ApiError {
    let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    ApiError::invalid("messages", format!("the model's chat template refuses these messages: {reason}"))
}
