//! A tokenizer as the reader of another model's text.

use ivl_core::Error;
use ivl_core::cross_tokenizer::{Retokenizer, TokenEnd};
use ivl_core::vocab::Role;

use crate::Tokenizer;

impl Retokenizer for Tokenizer {
    /// As [`Tokenizer::encode`] with the tokens that the post-processor puts before a text and without those it puts after. Where the
    /// text itself begins with the name of that token, it is not put there twice.
    fn tokenize(&self, text: &str) -> Result<Vec<TokenEnd>, Error> {
        let encoding = self.encoding(text).map_err(|error| Error::Retokenize(error.into()))?;
        let added = encoding.get_special_tokens_mask();
        let opening = added.iter().take_while(|&&mask| mask == 1).count();
        let closing = added[opening..].iter().rev().take_while(|&&mask| mask == 1).count();
        let ids = &encoding.get_ids()[..added.len() - closing];
        let twice = opening > 0 && ids.get(opening) == ids.get(opening - 1);
        let mut written: Vec<TokenEnd> =
            ids[..opening - usize::from(twice)].iter().map(|&id| TokenEnd { id, end: 0 }).collect();
        let mut at = 0;
        for (index, &id) in ids.iter().enumerate().skip(opening) {
            let offsets = encoding.get_offsets();
            let last_of_its_bytes = offsets.get(index + 1) != Some(&offsets[index]);
            at = self.end(text, at, id, offsets[index], last_of_its_bytes)?;
            written.push(TokenEnd { id, end: at });
        }
        lost(text, at, text.len())?;
        Ok(written)
    }
}

impl Tokenizer {
    /// Bytes of the text that are complete after a token that begins at `at`. Offsets `from..to` are the tokenizer's own:
    /// whole characters, and the only clue where a normalizer changed the text.
    fn end(
        &self,
        text: &str,
        at: usize,
        id: u32,
        (from, to): (usize, usize),
        last: bool,
    ) -> Result<usize, Error> {
        let vocab = self.vocab_ref();
        if vocab.plays(id, Role::Unknown) && vocab.token(id).is_some_and(ivl_core::vocab::Token::is_control) {
            let named = text.get(from..to).map(str::as_bytes) == vocab.token(id).map(|token| &*token.bytes);
            if !named {
                return Err(unwritable(text, from.max(at)));
            }
        }
        let (bytes, rest) = (vocab.text_bytes(id), &text.as_bytes()[at..]);
        if !bytes.is_empty() && rest.starts_with(bytes) {
            return Ok(at + bytes.len());
        }
        // The space that the tokenizer put there is not part of the text.
        if let Some(bytes) = bytes.strip_prefix(b" ")
            && rest.starts_with(bytes)
        {
            return Ok(at + bytes.len());
        }
        // Spaces that the tokenizer drops.
        let spaces = rest.len() - text[at..].trim_start().len();
        if !bytes.is_empty() && rest[spaces..].starts_with(bytes) {
            return Ok(at + spaces + bytes.len());
        }
        if vocab.text_bytes(id).is_empty() || self.changes_text() {
            lost(text, at, from)?;
            return Ok(if last { to.max(at) } else { at });
        }
        // Only a character without a token can be here.
        Err(unwritable(text, at + spaces))
    }
}

/// Text that no token covers, spaces aside.
fn lost(text: &str, from: usize, to: usize) -> Result<(), Error> {
    let lost = text.get(from..to.max(from)).unwrap_or_default();
    match lost.find(|c: char| !c.is_whitespace()) {
        Some(at) => Err(unwritable(text, from + at)),
        None => Ok(()),
    }
}

fn unwritable(text: &str, byte: usize) -> Error {
    let character = text.get(byte..).and_then(|rest| rest.chars().next());
    Error::Unwritable { text: character.map(String::from).unwrap_or_default(), byte }
}
