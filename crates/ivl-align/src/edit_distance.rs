//! The fewest edits.
//!
//! The distance is our own because no crate offers what the two methods need: one pattern prepared once and compared with a
//! whole vocabulary, its 2 KiB table of positions reused from token to token without allocating. A property test compares
//! it with the textbook table.

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::ByteTrie;

/// A byte string that others are compared with: Levenshtein's distance, by the bit-parallel recurrence of Myers (1999) in the form of Hyyrö (2003)
/// for up to 64 bytes, and by the table for more.
#[derive(Debug)]
pub(crate) struct BytePattern<'a> {
    bytes: &'a [u8],
    /// The positions of each byte in the pattern.
    places: Box<[u64; 256]>,
}

impl<'a> BytePattern<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut pattern = Self { bytes: &[], places: Box::new([0; 256]) };
        pattern.set(bytes);
        pattern
    }

    /// Takes another pattern, in the same memory.
    pub(crate) fn set(&mut self, bytes: &'a [u8]) {
        for &byte in self.bytes {
            self.places[usize::from(byte)] = 0;
        }
        self.bytes = bytes;
        for (index, &byte) in bytes.iter().enumerate().take(64) {
            self.places[usize::from(byte)] |= 1 << index;
        }
    }

    pub(crate) fn distance(&self, other: &[u8]) -> u32 {
        let len = self.bytes.len();
        if len == 0 {
            return other.len() as u32;
        }
        if len > 64 {
            return table(self.bytes, other);
        }
        let (mut plus, mut minus, mut distance, last) = (u64::MAX, 0u64, len as u32, 1u64 << (len - 1));
        for &byte in other {
            let equal = self.places[usize::from(byte)];
            let diagonal = (((equal & plus).wrapping_add(plus)) ^ plus) | equal | minus;
            let (up, down) = (minus | !(diagonal | plus), plus & diagonal);
            distance += u32::from(up & last != 0);
            distance -= u32::from(down & last != 0);
            let (up, down) = (up << 1 | 1, down << 1);
            plus = down | !(diagonal | up);
            minus = up & diagonal;
        }
        distance
    }
}

fn table(a: &[u8], b: &[u8]) -> u32 {
    let mut row: Vec<u32> = (0..=b.len() as u32).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i as u32 + 1;
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + u32::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// The bytes of a token as a set of 64: what is in one and not in the other costs an edit each.
pub(crate) fn byte_set(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |set, byte| set | 1 << (byte & 63))
}

fn at_least(a: u64, b: u64) -> u32 {
    (a & !b).count_ones().max((b & !a).count_ones())
}

/// The value's tokens by length, each with its set of bytes.
pub(crate) struct NearestTokens<'a> {
    trie: &'a ByteTrie,
    by_length: Vec<Vec<(u64, u32)>>,
}

impl<'a> NearestTokens<'a> {
    pub(crate) fn new(trie: &'a ByteTrie) -> Self {
        let mut by_length: Vec<Vec<(u64, u32)>> = Vec::new();
        for index in 0..trie.len() {
            let bytes = trie.bytes(index);
            if by_length.len() <= bytes.len() {
                by_length.resize(bytes.len() + 1, Vec::new());
            }
            by_length[bytes.len()].push((byte_set(bytes), index as u32));
        }
        Self { trie, by_length }
    }

    /// The value token that is the fewest edits away from a base token: of several the one that shares the most first
    /// bytes, then the one that comes first by its bytes. None if every byte would have to be edited.
    pub(crate) fn find(&self, base: &Vocab, id: u32) -> Option<u32> {
        let bytes = base.text_bytes(id);
        let (pattern, set) = (BytePattern::new(bytes), byte_set(bytes));
        let mut best: Option<(u32, std::cmp::Reverse<usize>, u32)> = None;
        let mut bound = bytes.len() as u32;
        for off in 0..self.by_length.len().max(bytes.len()) {
            if off as u32 > bound {
                break;
            }
            let lengths = [bytes.len().checked_sub(off), (off > 0).then_some(bytes.len() + off)];
            for candidates in lengths.into_iter().flatten().filter_map(|len| self.by_length.get(len)) {
                for &(other, index) in candidates {
                    if at_least(set, other) > bound {
                        continue;
                    }
                    let token = self.trie.bytes(index as usize);
                    let distance = pattern.distance(token);
                    if distance > bound || distance as usize >= bytes.len() {
                        continue;
                    }
                    let shared = bytes.iter().zip(token).take_while(|(a, b)| a == b).count();
                    let found = (distance, std::cmp::Reverse(shared), index);
                    if best.is_none_or(|best| found < best) {
                        (best, bound) = (Some(found), distance);
                    }
                }
            }
        }
        best.map(|(.., index)| self.trie.id(index as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::vocab::Token;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_and_table_agree(a in prop::collection::vec(0u8..4, 0..70), b in prop::collection::vec(0u8..4, 0..70)) {
            prop_assert_eq!(BytePattern::new(&a).distance(&b), table(&a, &b));
            prop_assert!(at_least(byte_set(&a), byte_set(&b)) <= table(&a, &b));
        }

        #[test]
        fn the_nearest_is_that_of_a_scan(
            tokens in prop::collection::vec(prop::collection::vec(0u8..5, 1..7), 1..30),
            query in prop::collection::vec(0u8..5, 1..7),
        ) {
            let value = Vocab::new(tokens.iter().map(|t| Some(Token::text(t.clone()))).collect());
            let base = Vocab::new(vec![Some(Token::text(query.clone()))]);
            let trie = ByteTrie::new(&value);
            let key = |index: &usize| {
                let token = trie.bytes(*index);
                let shared = query.iter().zip(token).take_while(|(a, b)| a == b).count();
                (table(&query, token), std::cmp::Reverse(shared), *index)
            };
            let best = (0..trie.len()).min_by_key(key).filter(|i| (table(&query, trie.bytes(*i)) as usize) < query.len());
            prop_assert_eq!(NearestTokens::new(&trie).find(&base, 0), best.map(|index| trie.id(index)));
        }
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(BytePattern::new(b"kitten").distance(b"sitting"), 3);
        assert_eq!(BytePattern::new(b"").distance(b"abc"), 3);
        let mut pattern = BytePattern::new(b"abc");
        pattern.set(b"xyz");
        assert_eq!(pattern.distance(b"abc"), 3, "nothing of the old pattern is left");
    }
}
