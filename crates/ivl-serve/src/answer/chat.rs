//! Messages and log-probabilities as `/v1/chat/completions` writes them.

use ivl_core::Vocab;
use serde_json::{Value, json};

use super::token::entry;
use crate::engine::Scored;
use crate::tools::ToolCall;

/// A whole answer.
pub(super) fn message(text: &str, calls: &[ToolCall]) -> Value {
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(|call| call.json(None)).collect();
        if text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    message
}

/// A piece of one; the first says who speaks.
pub(super) fn delta(text: &str, calls: &[ToolCall], first: bool) -> Value {
    let mut delta = match (first, text.is_empty()) {
        (true, _) => json!({"role": "assistant", "content": text}),
        (false, false) => json!({"content": text}),
        (false, true) => json!({}),
    };
    if !calls.is_empty() {
        delta["tool_calls"] = calls.iter().enumerate().map(|(index, call)| call.json(Some(index))).collect();
    }
    delta
}

/// An entry for each token.
pub(super) fn logprobs(vocab: &Vocab, tokens: &[Scored]) -> Value {
    json!({"content": tokens.iter().map(|token| entry(vocab, token)).collect::<Vec<_>>(), "refusal": null})
}
