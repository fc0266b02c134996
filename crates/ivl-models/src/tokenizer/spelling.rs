//! The text of a single token, from the decoder of its `tokenizer.json`.

use ivl_core::vocab::Token;
use serde_json::Value;

use super::stages::{Stages, parts};

/// How the tokens of a file spell their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2: every byte is a printable letter.
    ByteLevel,
    /// SentencePiece: a space is `▁`; with byte fallback, `<0xNN>` is a byte.
    SentencePiece { byte_fallback: bool },
    /// BERT: a token begins a word, and so with a space, unless it begins with the prefix. `cleanup` takes the space before
    /// punctuation away.
    WordPiece { prefix: String, cleanup: bool },
    /// The first BPE: a token with the suffix ends a word.
    Suffix(String),
    /// Without a decoder, tokens are joined by spaces.
    Words,
    /// Unchanged.
    Plain,
}

impl Spelling {
    pub(super) fn of(json: &Stages) -> Self {
        let stages = parts(&[&json.decoder, &json.pre_tokenizer, &json.normalizer]);
        let is = |part: &&Value, kind: &str| part["type"] == kind;
        if stages.iter().any(|part| is(part, "ByteLevel")) {
            return Self::ByteLevel;
        }
        let marks_spaces = |part: &&Value| {
            is(part, "Metaspace")
                || is(part, "Replace") && (part["pattern"]["String"] == "▁" || part["content"] == "▁")
        };
        let byte_fallback = json.model.byte_fallback == Some(true);
        if byte_fallback || stages.iter().any(marks_spaces) {
            return Self::SentencePiece { byte_fallback };
        }
        let text =
            |part: &Value, field: &str, default: &str| part[field].as_str().unwrap_or(default).to_owned();
        let decoder = |kind: &str| parts(&[&json.decoder]).into_iter().find(|part| part["type"] == kind);
        if let Some(part) = decoder("WordPiece") {
            let cleanup = part["cleanup"].as_bool().unwrap_or(true);
            return Self::WordPiece { prefix: text(part, "prefix", "##"), cleanup };
        }
        if let Some(part) = decoder("BPEDecoder") {
            return Self::Suffix(text(part, "suffix", "</w>"));
        }
        if json.decoder.is_null() { Self::Words } else { Self::Plain }
    }

    /// Whether the first space of a text is the tokenizer's, not the text's: decoding drops it.
    pub(super) fn begins_with_space(&self) -> bool {
        matches!(self, Self::WordPiece { .. } | Self::Words)
    }

    /// Whether the last space of a text is the tokenizer's: decoding drops it.
    pub(super) fn ends_with_space(&self) -> bool {
        matches!(self, Self::Suffix(_))
    }

    /// A token of text.
    pub(super) fn token(&self, token: &str) -> Token {
        match self.byte(token) {
            Some(byte) => Token::byte(byte),
            None => Token::text(self.bytes(token)),
        }
    }

    /// The byte of a byte-fallback token.
    fn byte(&self, token: &str) -> Option<u8> {
        let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
        let fallback = *self == Self::SentencePiece { byte_fallback: true } && hex.len() == 2;
        fallback.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            // A token with any other letter is its own text, as in the decoder of the reference.
            Self::ByteLevel => token
                .chars()
                .map(byte_of_letter)
                .collect::<Option<_>>()
                .unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::SentencePiece { .. } => token.replace('▁', " ").into_bytes(),
            Self::WordPiece { prefix, cleanup } => {
                let text = match token.strip_prefix(prefix.as_str()) {
                    Some(rest) => rest.to_owned(),
                    None => format!(" {token}"),
                };
                if *cleanup { tokenizers::decoders::wordpiece::cleanup(&text) } else { text }.into_bytes()
            }
            Self::Suffix(suffix) => token.replace(suffix.as_str(), " ").into_bytes(),
            Self::Words => format!(" {token}").into_bytes(),
            Self::Plain => token.as_bytes().to_vec(),
        }
    }
}

/// The byte of a letter of GPT-2's alphabet: printable Latin-1 encodes itself, the other 68 bytes, in order, for
/// the letters from U+0100 on.
fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(letter) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| printable(byte)),
        code => (0..=255u8).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt2_letters_stand_for_all_bytes_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of_letter).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of_letter('Ġ'), Some(b' '));
        assert_eq!(byte_of_letter('Ċ'), Some(b'\n'));
        assert_eq!(byte_of_letter('▁'), None);
    }

    #[test]
    fn spellings_give_the_bytes_of_the_text() {
        let sentencepiece = Spelling::SentencePiece { byte_fallback: true };
        assert_eq!(sentencepiece.bytes("▁the"), b" the");
        assert_eq!(sentencepiece.token("<0x0A>"), Token::byte(b'\n'));
        assert_eq!(sentencepiece.token("<0xZZ>"), Token::text(*b"<0xZZ>"));
        assert_eq!(Spelling::SentencePiece { byte_fallback: false }.token("<0x0A>"), Token::text(*b"<0x0A>"));
        assert_eq!(Spelling::ByteLevel.bytes("Ġthe"), b" the");
        assert_eq!(Spelling::ByteLevel.bytes("a b"), b"a b", "an added token with a literal space");
        assert_eq!(Spelling::Plain.bytes("▁x"), "▁x".as_bytes());
    }
}
