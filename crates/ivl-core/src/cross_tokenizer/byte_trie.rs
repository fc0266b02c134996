//! A vocabulary as a byte trie.

use std::ops::Range;

use crate::vocab::{TokenKind, Vocab};

/// The text tokens of a vocabulary in the order of their bytes: a trie whose nodes are ranges.
///
/// All tokens that start with the same bytes are adjacent, and a token precedes its continuations. Tokens with
/// the same bytes are kept, the one that tokenizers write first: text before single bytes by number, then lower ids.
/// Memory is the bytes of the tokens and eight more for each.
#[derive(Debug, Clone)]
pub struct ByteTrie {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    ids: Vec<u32>,
    /// Where tokens with each first byte begin; one more for the end.
    first: Vec<u32>,
}

impl ByteTrie {
    /// The trie of all tokens that add bytes to a text.
    pub fn new(vocab: &Vocab) -> Self {
        let mut ids: Vec<u32> =
            (0..vocab.size() as u32).filter(|&id| !vocab.text_bytes(id).is_empty()).collect();
        let by_number = |id: u32| vocab.token(id).is_some_and(|token| token.kind == TokenKind::Byte);
        ids.sort_by(|&a, &b| {
            let key = |id| (vocab.text_bytes(id), by_number(id), id);
            key(a).cmp(&key(b))
        });
        let (mut bytes, mut starts) = (Vec::new(), vec![0]);
        for &id in &ids {
            bytes.extend_from_slice(vocab.text_bytes(id));
            starts.push(bytes.len() as u32);
        }
        let mut trie = Self { bytes, starts, ids, first: Vec::new() };
        trie.first = (0..=256u32)
            .map(|byte| trie.partition(0..trie.len(), |token| u32::from(token[0]) < byte) as u32)
            .collect();
        trie
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The bytes of the token at an index.
    ///
    /// # Panics
    /// If the index is outside.
    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.bytes[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The id of the token at an index.
    ///
    /// # Panics
    /// If the index is outside.
    pub fn id(&self, index: usize) -> u32 {
        self.ids[index]
    }

    fn partition(&self, node: Range<usize>, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (node.start, node.end);
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.bytes(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The part of a node (tokens that share their first `depth` bytes) whose next byte is `byte`.
    pub fn child(&self, node: Range<usize>, depth: usize, byte: u8) -> Range<usize> {
        if depth == 0 && node == (0..self.len()) {
            return self.first[usize::from(byte)] as usize..self.first[usize::from(byte) + 1] as usize;
        }
        let start = self.partition(node.clone(), |token| token.get(depth).is_none_or(|&b| b < byte));
        let end = self.partition(start..node.end, |token| token[depth] <= byte);
        start..end
    }

    /// Indices of all tokens that start with `prefix`, itself included.
    pub(crate) fn starting_with(&self, prefix: &[u8]) -> Range<usize> {
        let mut node = 0..self.len();
        for (depth, &byte) in prefix.iter().enumerate() {
            node = self.child(node, depth, byte);
            if node.is_empty() {
                break;
            }
        }
        node
    }

    /// The index of the token with exactly these bytes; the first if there are several.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let node = self.starting_with(bytes);
        (!node.is_empty() && self.bytes(node.start).len() == bytes.len()).then_some(node.start)
    }

    /// The longest token that `text` starts with.
    pub fn longest_prefix_of(&self, text: &[u8]) -> Option<usize> {
        let (mut node, mut longest) = (0..self.len(), None);
        for (depth, &byte) in text.iter().enumerate() {
            node = self.child(node, depth, byte);
            if node.is_empty() {
                break;
            }
            if self.bytes(node.start).len() == depth + 1 {
                longest = Some(node.start);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Token;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_what_a_scan_finds(
            tokens in prop::collection::vec(prop::collection::vec(0u8..3, 0..5), 0..40),
            text in prop::collection::vec(0u8..3, 0..6),
        ) {
            let vocab = Vocab::new(tokens.iter().map(|t| Some(Token::text(t.clone()))).collect());
            let trie = ByteTrie::new(&vocab);
            let ids = |keep: &dyn Fn(&[u8]) -> bool| {
                (0..tokens.len() as u32).filter(|&id| !tokens[id as usize].is_empty() && keep(&tokens[id as usize])).collect::<Vec<_>>()
            };
            let mut found: Vec<u32> = trie.starting_with(&text).map(|index| trie.id(index)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, ids(&|token| token.starts_with(&text)));
            prop_assert_eq!(trie.find(&text).map(|i| trie.id(i)), ids(&|token| token == text).first().copied());
            let longest = ids(&|token| text.starts_with(token)).into_iter().max_by_key(|&id| (tokens[id as usize].len(), std::cmp::Reverse(id)));
            prop_assert_eq!(trie.longest_prefix_of(&text).map(|i| trie.id(i)), longest);
        }
    }

    #[test]
    fn a_byte_by_number_stands_behind_its_letter() {
        let vocab =
            Vocab::new(vec![Some(Token::byte(b'a')), Some(Token::control("a")), Some(Token::text(*b"a"))]);
        let trie = ByteTrie::new(&vocab);
        assert_eq!((trie.len(), trie.find(b"a").map(|index| trie.id(index))), (2, Some(2)));
    }
}
