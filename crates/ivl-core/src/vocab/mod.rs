//! The meaning of every token id: its bytes, whether it is text, and a fingerprint of the whole.

mod map;

pub use map::VocabMap;

use sha2::{Digest, Sha256};

/// How a token appears in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Bytes of ordinary text.
    Text,
    /// One byte by its number (`<0x41>` of SentencePiece): text as well, but written only where no other token fits.
    Byte,
    /// A control token (beginning or end of text, turn markers, padding): it contributes nothing to decoded text.
    Control,
}

/// The purpose of a control token. Families use different names for one purpose; roles match them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Begins a text.
    Beginning,
    /// Ends a text.
    End,
    /// Fills a batch; no text contains it.
    Padding,
    /// Stands for text that the tokenizer cannot write.
    Unknown,
    /// Begins a turn of a conversation.
    TurnStart,
    /// Ends a turn of a conversation.
    TurnEnd,
}

/// One entry of a [`Vocab`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// For [`TokenKind::Text`] and [`TokenKind::Byte`], the exact bytes that the token adds to a text (a leading space
    /// included); for [`TokenKind::Control`], the bytes of its name.
    pub bytes: Box<[u8]>,
    /// Whether the bytes are text.
    pub kind: TokenKind,
}

impl Token {
    /// A token of ordinary text.
    pub fn text(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { bytes: bytes.into(), kind: TokenKind::Text }
    }

    /// One byte by its number.
    pub fn byte(byte: u8) -> Self {
        Self { bytes: Box::new([byte]), kind: TokenKind::Byte }
    }

    /// A control token, by its name.
    pub fn control(name: &str) -> Self {
        Self { bytes: name.as_bytes().into(), kind: TokenKind::Control }
    }

    /// Whether the token adds nothing to a text.
    pub fn is_control(&self) -> bool {
        self.kind == TokenKind::Control
    }
}

/// The vocabulary of a causal LM: one slot for each logit.
///
/// Checkpoints pad their embedding beyond what the tokenizer knows; such slots hold no token. They take no value in a
/// fusion and are never sampled, but they stay in the softmax, as in every other implementation.
///
/// Beside the tokens it knows two habits of the tokenizer: which control token plays which [`Role`], and whether a text
/// is given a leading space that is not its own (SentencePiece's dummy prefix).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocab {
    tokens: Vec<Option<Token>>,
    roles: Vec<(Role, u32)>,
    adds_space: bool,
    closes_with_space: bool,
    fingerprint: String,
}

impl Vocab {
    /// A vocabulary from its slots, in id order. `None` is an id without a token.
    pub fn new(tokens: Vec<Option<Token>>) -> Self {
        let fingerprint = fingerprint(&tokens);
        Self { tokens, roles: Vec::new(), adds_space: false, closes_with_space: false, fingerprint }
    }

    /// The same vocabulary, in which `id` plays `role`. A token may play several roles, and several tokens one role; an id
    /// without a token plays none.
    #[must_use]
    pub fn with_role(mut self, role: Role, id: u32) -> Self {
        if self.token(id).is_some() && !self.roles.contains(&(role, id)) {
            self.roles.push((role, id));
        }
        self
    }

    /// The same vocabulary, of a tokenizer that begins every text with a space that is not part of it.
    #[must_use]
    pub fn with_added_space(mut self, adds_space: bool) -> Self {
        self.adds_space = adds_space;
        self
    }

    /// The same vocabulary, of a tokenizer whose words end with a space, so that the last space of a text is not part of it.
    #[must_use]
    pub fn with_closing_space(mut self, closes_with_space: bool) -> Self {
        self.closes_with_space = closes_with_space;
        self
    }

    /// The same vocabulary with at least `size` slots; new slots hold no token.
    #[must_use]
    pub fn padded_to(mut self, size: usize) -> Self {
        if size > self.tokens.len() {
            self.tokens.resize(size, None);
        }
        self
    }

    /// The same vocabulary with at most `size` slots.
    #[must_use]
    pub fn cut_to(mut self, size: usize) -> Self {
        if size < self.tokens.len() {
            self.tokens.truncate(size);
            self.roles.retain(|&(_, id)| (id as usize) < size);
            self.fingerprint = fingerprint(&self.tokens);
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
            Some(token) if !token.is_control() => &token.bytes,
            _ => &[],
        }
    }

    /// The first token that plays a role.
    pub fn role(&self, role: Role) -> Option<u32> {
        self.roles.iter().find(|(r, _)| *r == role).map(|(_, id)| *id)
    }

    /// Whether a token plays a role.
    pub fn plays(&self, id: u32, role: Role) -> bool {
        self.roles.contains(&(role, id))
    }

    /// Every role with the tokens that play it, in the order in which they were named.
    pub fn roles(&self) -> &[(Role, u32)] {
        &self.roles
    }

    /// Whether the tokenizer begins every text with a space that is not part of it.
    pub fn adds_space(&self) -> bool {
        self.adds_space
    }

    /// Whether the words of the tokenizer end with a space, so that the last space of a text is not part of it.
    pub fn closes_with_space(&self) -> bool {
        self.closes_with_space
    }

    /// Ids that hold no token, in order.
    pub fn unknown_ids(&self) -> Vec<u32> {
        (0..self.size() as u32).filter(|&id| self.token(id).is_none()).collect()
    }

    /// Slots in id order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&Token>> {
        self.tokens.iter().map(Option::as_ref)
    }

    /// SHA-256 over every (id, bytes), in hexadecimal. Padding does not change it, nor do roles and kinds: they are read from other
    /// files than the tokens, and a GGUF file calls tokens control tokens that the directory of the same model does not.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn fingerprint(tokens: &[Option<Token>]) -> String {
    let mut hash = Sha256::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(token) = token {
            hash.update((id as u64).to_le_bytes());
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
    fn the_fingerprint_sees_order_and_boundaries_and_not_kinds() {
        let other = |tokens| Vocab::new(tokens).fingerprint().to_owned();
        let text =
            other(vec![Some(Token::text(*b"<s>")), Some(Token::text(*b"a")), Some(Token::text(*b"bc"))]);
        assert_eq!(text, abc().fingerprint());
        let all = [
            text,
            other(vec![Some(Token::control("<s>")), Some(Token::text(*b"ab")), Some(Token::text(*b"c"))]),
            other(vec![Some(Token::control("<s>")), Some(Token::text(*b"bc")), Some(Token::text(*b"a"))]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn roles_are_many_to_many_and_outlive_padding_but_not_their_token() {
        let vocab = abc()
            .with_role(Role::Beginning, 0)
            .with_role(Role::End, 0)
            .with_role(Role::End, 2)
            .with_role(Role::Padding, 3)
            .padded_to(9);
        assert_eq!((vocab.role(Role::End), vocab.role(Role::Padding)), (Some(0), None));
        assert!(vocab.plays(0, Role::Beginning) && vocab.plays(2, Role::End) && !vocab.plays(1, Role::End));
        assert_eq!(vocab.fingerprint(), abc().fingerprint());
        let cut = vocab.cut_to(2);
        assert_eq!(cut.roles(), [(Role::Beginning, 0), (Role::End, 0)]);
        assert_ne!(cut.fingerprint(), abc().fingerprint());
    }

    #[test]
    fn control_tokens_are_not_text() {
        assert_eq!(Vocab::new(vec![Some(Token::byte(7))]).text_bytes(0), [7]);
        assert_eq!(abc().text_bytes(0), b"");
        assert_eq!(abc().text_bytes(2), b"bc");
    }
}
