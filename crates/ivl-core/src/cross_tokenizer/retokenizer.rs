//! What a value reads: the text of the base's tokens, in the value's own tokens.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::vocab::{Role, Vocab, VocabMap};

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

/// Writes texts in the tokens of one vocabulary, as its model was trained to read them.
///
/// Implementations live where tokenizers do; this crate knows none.
pub trait Retokenizer: Send {
    /// The tokens of a text from its beginning: with what opens every text (a beginning-of-text token), without what
    /// closes it.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for text that no token can write, [`Error::Retokenize`] if the tokenizer fails.
    fn write(&self, text: &str) -> Result<Vec<TokenEnd>, Error>;
}

/// Turns base tokens into text, one at a time. Bytes that do not yet make a character wait; bytes that can never make one
/// become U+FFFD, as in every decoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    /// Complete characters.
    pub(crate) text: String,
    /// Bytes of the character that is not complete.
    pub(crate) pending: Vec<u8>,
    started: bool,
}

impl Transcript {
    /// Adds the bytes of a token. The space that a tokenizer gave the text's beginning is not part of the text.
    fn push(&mut self, mut bytes: &[u8], adds_space: bool) {
        if bytes.is_empty() {
            return;
        }
        if !self.started && adds_space {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.started = true;
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            self.text.push_str(&String::from_utf8_lossy(&rest[..error.valid_up_to()]));
            rest = &rest[error.valid_up_to()..];
            let Some(invalid) = error.error_len() else {
                self.pending = rest.to_vec();
                return;
            };
            self.text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[invalid..];
        }
        self.text.push_str(&String::from_utf8_lossy(rest));
    }
}

/// What a value has to read at one position of the base.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The text so far in the value's tokens; none if the value cannot write it.
    pub(crate) tokens: Option<Arc<[u32]>>,
    /// Bytes of a character that is not complete.
    pub(crate) pending: Vec<u8>,
}

/// Reads base tokens for one value.
pub(crate) struct Reader {
    tokenizer: Box<dyn Retokenizer>,
    /// The text that each base token adds for the value: a control token is written by the name that the value has for
    /// it, so that the value's tokenizer finds its own.
    control_names: HashMap<u32, Box<[u8]>>,
    base: Vocab,
}

impl Reader {
    pub(crate) fn new(tokenizer: Box<dyn Retokenizer>, base: &Vocab, value: &Vocab, map: &VocabMap) -> Self {
        let name = |id: u32| -> Option<(u32, Box<[u8]>)> {
            let control = base.token(id)?.is_control() && !base.plays(id, Role::Padding);
            let counterpart = value.token(map.value_id(id).filter(|_| control)?)?;
            Some((id, counterpart.bytes.clone()))
        };
        let control_names = (0..base.size() as u32).filter_map(name).collect();
        Self { tokenizer, control_names, base: base.clone() }
    }

    /// Adds a base token to a text.
    pub(crate) fn push(&self, transcript: &mut Transcript, id: u32) {
        if let Some(name) = self.control_names.get(&id) {
            // What opens every text is written by the value's tokenizer.
            if transcript.started || !self.base.plays(id, Role::Beginning) {
                transcript.push(name, false);
            }
        } else {
            transcript.push(self.base.text_bytes(id), self.base.adds_space());
        }
    }

    /// The bytes of the last `count` base tokens that are text, and where each begins; what comes before a control token
    /// is another text.
    pub(crate) fn last_tokens(&self, ids: &[u32], count: usize) -> (Vec<u8>, Vec<usize>) {
        let text = ids.iter().rev().take(count).take_while(|&&id| !self.base.text_bytes(id).is_empty());
        let first = ids.len() - text.count();
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for &id in &ids[first..] {
            starts.push(bytes.len());
            bytes.extend_from_slice(self.base.text_bytes(id));
        }
        (bytes, starts)
    }

    /// The value's tokens of a text; none if it cannot write it.
    pub(crate) fn tokens(&self, text: &str) -> Option<Arc<[u32]>> {
        let written = self.tokenizer.write(text).ok()?;
        Some(written.into_iter().map(|token| token.id).collect())
    }
}
