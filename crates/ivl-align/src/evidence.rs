//! What a corpus says about two tokenisations: counts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::{Retokenizer, TokenEnd};
use rayon::prelude::*;

use crate::warping::{Letters, Warping};

/// Pairs of a base id and a value id, counted.
pub(crate) type Pairs = HashMap<(u32, u32), u64, BuildHasherDefault<PairHasher>>;

/// Mixes two ids by a multiplication: counting is mostly hashing, and nobody gains by colliding in a corpus of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = self.0.rotate_left(32) ^ u64::from(id);
    }

    fn finish(&self) -> u64 {
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    }
}

/// One text in the base's tokens and in the value's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextPair {
    /// In the base's tokens.
    pub base: Vec<TokenEnd>,
    /// In the value's tokens.
    pub value: Vec<TokenEnd>,
}

impl TextPair {
    /// Writes texts in both tokenisations, on all cores.
    ///
    /// # Errors
    /// For each text, that of the tokenizer that cannot write it.
    pub fn write_all(
        texts: &[String],
        base: &(dyn Retokenizer + Sync),
        value: &(dyn Retokenizer + Sync),
    ) -> Vec<Result<Self, ivl_core::Error>> {
        let write = |text: &String| Ok(Self { base: base.tokenize(text)?, value: value.tokenize(text)? });
        texts.par_iter().map(write).collect()
    }
}

/// Counts over a corpus.
///
/// Memory is one number per base id and one entry for each pair that occurred.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub(crate) frequency: Vec<u64>,
    pub(crate) started: Pairs,
    pub(crate) warped: Pairs,
}

impl Evidence {
    /// How often each base id occurred.
    pub fn frequency(&self) -> &[u64] {
        &self.frequency
    }

    /// All pairs on the warping's paths with their counts, in order.
    pub fn warped_pairs(&self) -> Vec<(u32, u32, u64)> {
        let mut pairs: Vec<_> =
            self.warped.iter().map(|(&(base, value), &count)| (base, value, count)).collect();
        pairs.sort_unstable();
        pairs
    }
}

/// Which pairs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Tokens that begin at the same byte of the text.
    Bytes,
    /// Tokens on the path of dynamic time warping, as published.
    Warped,
}

/// Texts that one core takes at a time.
const TEXTS_AT_ONCE: usize = 256;

/// Counts a corpus piece by piece, so that none has to fit in memory.
pub struct Counter<'a> {
    base: &'a Vocab,
    value: &'a Vocab,
    letters: Option<(Letters, Letters)>,
    evidence: Evidence,
}

impl<'a> Counter<'a> {
    /// A counter that has seen nothing.
    pub fn new(base: &'a Vocab, value: &'a Vocab, pairing: Pairing) -> Self {
        let letters =
            (pairing == Pairing::Warped).then(|| rayon::join(|| Letters::new(base), || Letters::new(value)));
        let evidence = Evidence { frequency: vec![0; base.size()], ..Evidence::default() };
        Self { base, value, letters, evidence }
    }

    /// What was counted.
    pub fn finish(self) -> Evidence {
        self.evidence
    }

    /// Counts texts, on all cores. Control tokens are no text and are passed over.
    ///
    /// Warping takes time and memory in proportion to the product of a text's two lengths: give it lines, not books.
    pub fn count(&mut self, texts: &[TextPair]) {
        let Self { base, value, letters, evidence } = self;
        let start = || {
            let warping = letters.as_ref().map(|(base, value)| Warping::new(base, value));
            (warping, Pairs::default())
        };
        let counted = texts
            .par_chunks(TEXTS_AT_ONCE)
            .fold(start, |(mut warping, mut pairs), texts| {
                for text in texts {
                    match &mut warping {
                        Some(warping) => {
                            let (b, v) = (words(&text.base, base), words(&text.value, value));
                            warping.path(&b, &v, |b, v| *pairs.entry((b, v)).or_default() += 1);
                        }
                        None => count_started(text, base, value, &mut pairs),
                    }
                }
                (warping, pairs)
            })
            .map(|(_, pairs)| pairs)
            .reduce(Pairs::default, merge);
        let total = if letters.is_some() { &mut evidence.warped } else { &mut evidence.started };
        *total = merge(std::mem::take(total), counted);
        for token in texts.iter().flat_map(|text| &text.base) {
            if let Some(count) = evidence.frequency.get_mut(token.id as usize) {
                *count += 1;
            }
        }
    }
}

fn merge(a: Pairs, b: Pairs) -> Pairs {
    let (mut large, small) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    for (pair, count) in small {
        *large.entry(pair).or_default() += count;
    }
    large
}

/// Ids of text.
fn words(text: &[TokenEnd], vocab: &Vocab) -> Vec<u32> {
    text.iter().map(|token| token.id).filter(|&id| !vocab.text_bytes(id).is_empty()).collect()
}

/// Tokens of text with the byte at which each begins; those that add nothing left out.
fn begins<'a>(text: &'a [TokenEnd], vocab: &'a Vocab) -> impl Iterator<Item = (usize, u32)> + 'a {
    let mut at = 0;
    text.iter().filter_map(move |token| {
        let start = std::mem::replace(&mut at, token.end);
        (token.end > start && !vocab.text_bytes(token.id).is_empty()).then_some((start, token.id))
    })
}

fn count_started(text: &TextPair, base: &Vocab, value: &Vocab, pairs: &mut Pairs) {
    let mut other = begins(&text.value, value).peekable();
    for (start, id) in begins(&text.base, base) {
        while other.next_if(|(at, _)| *at < start).is_some() {}
        if let Some(&(at, value)) = other.peek()
            && at == start
        {
            *pairs.entry((id, value)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::vocab::Token;

    fn vocab(tokens: &[&str]) -> Vocab {
        let text = tokens.iter().map(|token| Some(Token::text(token.as_bytes())));
        Vocab::new(std::iter::once(Some(Token::control("<s>"))).chain(text).collect())
    }

    fn written(tokens: &[(u32, usize)]) -> Vec<TokenEnd> {
        tokens.iter().map(|&(id, end)| TokenEnd { id, end }).collect()
    }

    #[test]
    fn counts_by_hand() {
        let (base, value) = (vocab(&["under", "standing", "x"]), vocab(&["under", "stand", "ing", "y"]));
        let text = TextPair {
            base: written(&[(0, 0), (1, 5), (2, 13)]),
            value: written(&[(0, 0), (1, 5), (2, 10), (3, 13)]),
        };
        let counted = |pairing| {
            let mut counter = Counter::new(&base, &value, pairing);
            counter.count(&[text.clone(), text.clone()]);
            counter.count(std::slice::from_ref(&text));
            counter.finish()
        };
        let (bytes, warped) = (counted(Pairing::Bytes), counted(Pairing::Warped));
        assert_eq!((bytes.frequency(), warped.frequency()), (&[3, 3, 3, 0][..], &[3, 3, 3, 0][..]));
        assert_eq!(bytes.started, Pairs::from_iter([((1, 1), 3), ((2, 2), 3)]));
        assert_eq!(warped.warped_pairs(), [(1, 1, 3), (2, 2, 3), (2, 3, 3)]);
    }
}
