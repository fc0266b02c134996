//! What every token id means: its bytes, whether it is text, and a fingerprint of the whole.

use sha2::{Digest, Sha256};

/// How a token appears in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Bytes of ordinary text.
    Text,
    /// A control token (beginning or end of text, turn markers, padding): it contributes nothing to decoded text.
    Control,
}

/// One entry of a [`Vocab`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// For [`TokenKind::Text`], the exact bytes that the token adds to a text (a leading space included); for
    /// [`TokenKind::Control`], the bytes of its name.
    pub bytes: Box<[u8]>,
    /// Whether the bytes are text.
    pub kind: TokenKind,
}

impl Token {
    /// A token of ordinary text.
    pub fn text(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { bytes: bytes.into(), kind: TokenKind::Text }
    }

    /// A control token, by its name.
    pub fn control(name: &str) -> Self {
        Self { bytes: name.as_bytes().into(), kind: TokenKind::Control }
    }
}

/// The vocabulary of a causal LM: one slot for each logit.
///
/// Checkpoints pad their embedding beyond what the tokenizer knows; such slots hold no token. They take no value in a
/// fusion and are never sampled, but they stay in the softmax, as in every other implementation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocab {
    tokens: Vec<Option<Token>>,
    fingerprint: String,
}

impl Vocab {
    /// A vocabulary from its slots, in id order. `None` is an id without a token.
    pub fn new(tokens: Vec<Option<Token>>) -> Self {
        let fingerprint = fingerprint(&tokens);
        Self { tokens, fingerprint }
    }

    /// The same vocabulary with at least `size` slots; new slots hold no token.
    #[must_use]
    pub fn padded_to(mut self, size: usize) -> Self {
        if size > self.tokens.len() {
            self.tokens.resize(size, None);
        }
        self
    }

    /// Number of slots, which is the number of logits.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// The token of an id; `None` for padding and for ids outside.
    pub fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize).and_then(Option::as_ref)
    }

    /// The bytes an id adds to a text: empty for control tokens, padding and ids outside.
    pub fn text_bytes(&self, id: u32) -> &[u8] {
        match self.token(id) {
            Some(Token { bytes, kind: TokenKind::Text }) => bytes,
            _ => &[],
        }
    }

    /// Ids that hold no token, in order.
    pub fn unknown_ids(&self) -> Vec<u32> {
        (0..self.size() as u32).filter(|&id| self.token(id).is_none()).collect()
    }

    /// Slots in id order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&Token>> {
        self.tokens.iter().map(Option::as_ref)
    }

    /// SHA-256 over every (id, kind, bytes), in hexadecimal. Padding does not change it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn fingerprint(tokens: &[Option<Token>]) -> String {
    let mut hash = Sha256::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(token) = token {
            hash.update((id as u64).to_le_bytes());
            hash.update([u8::from(token.kind == TokenKind::Control)]);
            hash.update((token.bytes.len() as u64).to_le_bytes());
            hash.update(&token.bytes);
        }
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abc() -> Vocab {
        Vocab::new(vec![Some(Token::control("<s>")), Some(Token::text(*b"a")), Some(Token::text(*b"bc"))])
    }

    #[test]
    fn padding_keeps_the_fingerprint_and_adds_no_token() {
        let padded = abc().padded_to(8);
        assert_eq!(padded.size(), 8);
        assert_eq!(padded.fingerprint(), abc().fingerprint());
        assert_eq!(padded.unknown_ids(), [3, 4, 5, 6, 7]);
        assert_eq!(padded.token(99), None);
    }

    #[test]
    fn the_fingerprint_sees_kind_order_and_boundaries() {
        let other = |tokens| Vocab::new(tokens).fingerprint().to_owned();
        let all = [
            abc().fingerprint().to_owned(),
            other(vec![Some(Token::text(*b"<s>")), Some(Token::text(*b"a")), Some(Token::text(*b"bc"))]),
            other(vec![Some(Token::control("<s>")), Some(Token::text(*b"ab")), Some(Token::text(*b"c"))]),
            other(vec![Some(Token::control("<s>")), Some(Token::text(*b"bc")), Some(Token::text(*b"a"))]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn control_tokens_are_not_text() {
        assert_eq!(abc().text_bytes(0), b"");
        assert_eq!(abc().text_bytes(2), b"bc");
    }
}
