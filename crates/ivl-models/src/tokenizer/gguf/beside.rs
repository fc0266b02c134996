//! A `tokenizer.json` in the directory of a GGUF file.

use std::path::{Path, PathBuf};

use ivl_core::Vocab;
use ivl_core::vocab::Token;

use super::token_type::TokenType;
use super::vocabulary::GgufVocabulary;
use crate::tokenizer::padding::is_padding;
use crate::tokenizer::spelling::Spelling;

/// The `tokenizer.json` in the directory of a file, if there is one.
pub(crate) fn tokenizer_beside(gguf: &Path) -> Option<PathBuf> {
    let path = gguf.parent().unwrap_or(Path::new("")).join("tokenizer.json");
    path.is_file().then_some(path)
}

impl GgufVocabulary {
    /// The first id that another tokenizer gives to other text, with both texts; `None` if every token agrees.
    pub(crate) fn first_difference(&self, other: &Vocab) -> Option<(u32, String, String)> {
        let own = self.vocab();
        let size = own.size().max(other.size()) as u32;
        let bytes = |vocab: &Vocab, id| vocab.token(id).map(|token| token.bytes.clone());
        let id = (0..size).find(|&id| bytes(&own, id) != bytes(other, id))?;
        let text = |vocab| match bytes(vocab, id) {
            Some(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes)),
            None => "no token".to_owned(),
        };
        Some((id, text(&own), text(other)))
    }

    /// The bytes of every token.
    fn vocab(&self) -> Vocab {
        let spelling = match self.model.marks_spaces() {
            true => Spelling::SentencePiece { byte_fallback: true },
            false => Spelling::ByteLevel,
        };
        let token = |(text, kind): (&String, &TokenType)| match kind {
            _ if is_padding(text) => None,
            TokenType::Control | TokenType::Unknown => Some(Token::control(text)),
            _ => Some(spelling.token(text)),
        };
        Vocab::new(self.tokens.iter().zip(&self.types).map(token).collect())
    }
}
