//! A tokenizer that takes the longest token each time: enough to cut one text in two ways.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use ivl_core::cross_tokenizer::{ByteTrie, Retokenizer, TokenEnd};
use ivl_core::vocab::{Role, Token};
use ivl_core::{Error, Vocab};

/// A vocabulary with `<s>` as id 0, `</s>` as id 1, and then tokens of text.
pub fn vocab<T: AsRef<[u8]>>(tokens: &[T]) -> Vocab {
    let text = tokens.iter().map(|token| Some(Token::text(token.as_ref())));
    let controls = [Some(Token::control("<s>")), Some(Token::control("</s>"))];
    let vocab = Vocab::new(controls.into_iter().chain(text).collect());
    vocab.with_role(Role::Beginning, 0).with_role(Role::End, 1)
}

#[derive(Debug, Clone)]
pub struct Greedy(pub ByteTrie);

impl Greedy {
    pub fn new(vocab: &Vocab) -> Self {
        Self(ByteTrie::new(vocab))
    }

    /// `<s>` and the tokens of any bytes, with the bytes that each completes.
    pub fn cut(&self, bytes: &[u8]) -> Option<Vec<TokenEnd>> {
        let (mut written, mut at) = (vec![TokenEnd { id: 0, end: 0 }], 0);
        while at < bytes.len() {
            let token = self.0.longest_prefix_of(&bytes[at..])?;
            at += self.0.bytes(token).len();
            written.push(TokenEnd { id: self.0.id(token), end: at });
        }
        Some(written)
    }

    pub fn ids(&self, text: &str) -> Vec<u32> {
        self.tokenize(text).expect("covered").iter().map(|token| token.id).collect()
    }
}

impl Retokenizer for Greedy {
    fn tokenize(&self, text: &str) -> Result<Vec<TokenEnd>, Error> {
        self.cut(text.as_bytes()).ok_or_else(|| Error::Unwritable { text: text.to_owned(), byte: 0 })
    }
}
