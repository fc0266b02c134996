//! Dynamic time warping (DTW) of two tokenisations of a text, as in the published method.

use ivl_core::Vocab;

use crate::edit_distance::{BytePattern, byte_set};

/// Tokens without spaces, by id: what the published method compares.
pub(crate) struct TokenBytes {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    sets: Vec<u64>,
}

impl TokenBytes {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        let (mut bytes, mut starts, mut sets) = (Vec::new(), vec![0], Vec::with_capacity(vocab.size()));
        for id in 0..vocab.size() as u32 {
            let start = bytes.len();
            bytes.extend(vocab.text_bytes(id).iter().filter(|&&byte| byte != b' '));
            sets.push(byte_set(&bytes[start..]));
            starts.push(bytes.len() as u32);
        }
        Self { bytes, starts, sets }
    }

    fn get(&self, id: u32) -> (&[u8], u64) {
        let id = id as usize;
        (&self.bytes[self.starts[id] as usize..self.starts[id + 1] as usize], self.sets[id])
    }
}

/// Aligns texts by DTW; its memory is kept from text to text.
pub(crate) struct DtwAligner<'a> {
    base: &'a TokenBytes,
    value: &'a TokenBytes,
    pattern: BytePattern<'a>,
    row: Vec<u32>,
    moves: Vec<u8>,
}

const DIAGONAL: u8 = 0;
const UP: u8 = 1;
const LEFT: u8 = 2;

impl<'a> DtwAligner<'a> {
    pub(crate) fn new(base: &'a TokenBytes, value: &'a TokenBytes) -> Self {
        Self { base, value, pattern: BytePattern::new(&[]), row: Vec::new(), moves: Vec::new() }
    }

    /// Calls `pair` for every pair of tokens on the cheapest path from the last two tokens to the first two.
    ///
    /// The cost of a pair is the edit distance of its bytes, a tenth of it if one holds the other: in tenths, so that
    /// sums are exact. `cost(i, j) + min(diagonal, up, left)`; of equal ones the first in this order.
    pub(crate) fn path(&mut self, base: &[u32], value: &[u32], mut pair: impl FnMut(u32, u32)) {
        if base.is_empty() || value.is_empty() {
            return;
        }
        self.fill(base, value);
        let (mut i, mut j) = (base.len() - 1, value.len() - 1);
        loop {
            pair(base[i], value[j]);
            if i == 0 && j == 0 {
                return;
            }
            match self.moves[i * value.len() + j] {
                DIAGONAL => (i, j) = (i - 1, j - 1),
                UP => i -= 1,
                _ => j -= 1,
            }
        }
    }

    fn fill(&mut self, base: &[u32], value: &[u32]) {
        let width = value.len();
        self.row.clear();
        self.row.resize(width, 0);
        self.moves.clear();
        self.moves.resize(base.len() * width, 0);
        let tokens: Vec<(&[u8], u64)> = value.iter().map(|&id| self.value.get(id)).collect();
        for (i, &id) in base.iter().enumerate() {
            let (bytes, set) = self.base.get(id);
            self.pattern.set(bytes);
            // Sums of the row above, and of this row up to here.
            let (mut above_left, mut left) = (u32::MAX, u32::MAX);
            let moves = &mut self.moves[i * width..(i + 1) * width];
            for ((sum, chosen), &(other, other_set)) in self.row.iter_mut().zip(moves).zip(&tokens) {
                let above = if i == 0 { u32::MAX } else { *sum };
                let (mut least, mut way) = (above_left, DIAGONAL);
                if above < least {
                    (least, way) = (above, UP);
                }
                if left < least {
                    (least, way) = (left, LEFT);
                }
                let before = if least == u32::MAX { 0 } else { least };
                let total = before + cost(&self.pattern, bytes, set, other, other_set);
                (above_left, left) = (above, total);
                (*sum, *chosen) = (total, way);
            }
        }
    }
}

fn cost(pattern: &BytePattern<'_>, a: &[u8], a_set: u64, b: &[u8], b_set: u64) -> u32 {
    let ((short, short_set), (long, long_set)) =
        if a.len() <= b.len() { ((a, a_set), (b, b_set)) } else { ((b, b_set), (a, a_set)) };
    let held = short_set & !long_set == 0
        && (short.is_empty() || long.windows(short.len()).any(|window| window == short));
    if held {
        // As many edits away as the other has more bytes.
        (long.len() - short.len()) as u32
    } else if a_set & b_set == 0 {
        // No byte in common: every one is an edit.
        10 * long.len() as u32
    } else {
        10 * pattern.distance(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::vocab::Token;
    use proptest::prelude::*;

    fn vocab(tokens: &[&[u8]]) -> Vocab {
        Vocab::new(tokens.iter().map(|&token| Some(Token::text(token))).collect())
    }

    fn path(base: &[&[u8]], value: &[&[u8]]) -> Vec<(u32, u32)> {
        let (b, v) = (TokenBytes::new(&vocab(base)), TokenBytes::new(&vocab(value)));
        let mut found = Vec::new();
        let ids = |count: usize| (0..count as u32).collect::<Vec<_>>();
        DtwAligner::new(&b, &v).path(&ids(base.len()), &ids(value.len()), |i, j| found.push((i, j)));
        found
    }

    #[test]
    fn a_path_by_hand() {
        // under | standing   against   under | stand | ing
        let found = path(&[b" under", b"standing"], &[b"under", b" stand", b"ing"]);
        assert_eq!(found, [(1, 2), (1, 1), (0, 0)]);
        assert_eq!(path(&[b"a"], &[b"x", b"y"]), [(0, 1), (0, 0)]);
        assert_eq!(path(&[], &[b"x"]), []);
    }

    proptest! {
        /// The total of the path is the least over all monotone paths, found by trying them all.
        #[test]
        fn no_path_is_cheaper(
            base in prop::collection::vec(prop::collection::vec(b'a'..b'd', 0..4), 1..5),
            value in prop::collection::vec(prop::collection::vec(b'a'..b'd', 0..4), 1..5),
        ) {
            fn least(i: usize, j: usize, costs: &dyn Fn(usize, usize) -> u32) -> u32 {
                let before = match (i, j) {
                    (0, 0) => 0,
                    (0, _) => least(0, j - 1, costs),
                    (_, 0) => least(i - 1, 0, costs),
                    _ => least(i - 1, j - 1, costs).min(least(i - 1, j, costs)).min(least(i, j - 1, costs)),
                };
                before + costs(i, j)
            }
            let costs = |i: usize, j: usize| {
                let (a, b) = (&base[i], &value[j]);
                cost(&BytePattern::new(a), a, byte_set(a), b, byte_set(b))
            };
            let slices = |tokens: &'_ [Vec<u8>]| -> Vec<Vec<u8>> { tokens.to_vec() };
            let (b, v) = (slices(&base), slices(&value));
            let found = path(&b.iter().map(Vec::as_slice).collect::<Vec<_>>(), &v.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let total: u32 = found.iter().map(|&(i, j)| costs(i as usize, j as usize)).sum();
            prop_assert_eq!(total, least(base.len() - 1, value.len() - 1, &costs));
            prop_assert!(found.windows(2).all(|w| w[0].0 - w[1].0 <= 1 && w[0].1 - w[1].1 <= 1));
        }
    }
}
