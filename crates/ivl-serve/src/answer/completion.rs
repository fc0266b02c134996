//! Log-probabilities as `/v1/completions` writes them.

use ivl_core::Vocab;
use serde_json::{Value, json};

use super::token::{dictionary, number, readable};
use crate::engine::Scored;
use crate::request::Prompt;

/// Four lists, one entry for each token; the first `echoed` tokens are the prompt's. `offset` is where the next new token
/// begins, and moves on.
pub(super) fn logprobs(
    vocab: &Vocab,
    tokens: &[Scored],
    echoed: usize,
    prompt: &Prompt,
    offset: &mut usize,
) -> Value {
    let offsets: Vec<usize> = tokens
        .iter()
        .enumerate()
        .map(|(at, token)| {
            if at < echoed {
                return prompt.offsets[at];
            }
            let begins = *offset;
            // A character counts where it begins.
            *offset += vocab.text_bytes(token.id).iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
            begins
        })
        .collect();
    let logprob = |token: &Scored| token.logprob.map_or(Value::Null, number);
    json!({
        "tokens": tokens.iter().map(|token| readable(vocab, token.id)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(|token| dictionary(vocab, token)).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
