//! The tokenizer of a value, as this crate sees it.

use crate::error::Error;

/// A token of a text and the number of bytes of the text that are complete after it.
///
/// A token that adds nothing, or the first half of a character that the tokenizer cut, ends where the token before it
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEnd {
    /// The token.
    pub id: u32,
    /// Bytes of the text that are complete after it.
    pub end: usize,
}

/// Cuts texts into the tokens of one vocabulary, as its model was trained to read them.
///
/// Implementations live where tokenizers do; this crate knows none.
pub trait Retokenizer: Send {
    /// The tokens of a text from its beginning: with what opens every text (a beginning-of-text token), without what
    /// closes it.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for text that no token can write, [`Error::Retokenize`] if the tokenizer fails.
    fn tokenize(&self, text: &str) -> Result<Vec<TokenEnd>, Error>;
}
