//! Messages and log-probabilities as `/v1/chat/completions` writes them.

use ivl_core::Vocab;
use serde_json::{Value, json};

use super::token::entry;
use crate::engine::Scored;

/// A whole answer.
pub(super) fn message(text: &str) -> Value {
    json!({"role": "assistant", "content": text, "refusal": null})
}

/// A piece of one; the first has the role.
pub(super) fn delta(text: &str, first: bool) -> Value {
    match (first, text.is_empty()) {
        (true, _) => json!({"role": "assistant", "content": text}),
        (false, false) => json!({"content": text}),
        (false, true) => json!({}),
    }
}

/// An entry for each token.
pub(super) fn logprobs(vocab: &Vocab, tokens: &[Scored]) -> Value {
    json!({"content": tokens.iter().map(|token| entry(vocab, token)).collect::<Vec<_>>(), "refusal": null})
}
