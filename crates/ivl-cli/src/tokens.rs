//! Tokens as people read them.

use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;

/// The text of a token, or the name of a control token; bytes that are no character become U+FFFD.
pub fn readable(vocab: &Vocab, id: u32) -> String {
    match vocab.token(id) {
        Some(token) => String::from_utf8_lossy(&token.bytes).into_owned(),
        None => format!("[{id}]"),
    }
}

/// Whether a token is a control token.
pub fn is_control(vocab: &Vocab, id: u32) -> bool {
    vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control)
}
