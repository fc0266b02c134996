//! Co-occurrence counts of two tokenizations of a corpus.

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::{Retokenizer, TokenEnd};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::dtw::{DtwAligner, TokenBytes};

/// Pairs of a base id and a value id, counted. Counting is mostly hashing; the corpus is the user's own, so the hash need not
/// withstand chosen collisions.
pub(crate) type Pairs = FxHashMap<(u32, u32), u64>;

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
pub struct CooccurrenceCounts {
    pub(crate) frequency: Vec<u64>,
    pub(crate) same_start: Pairs,
    pub(crate) dtw: Pairs,
}

impl CooccurrenceCounts {
    /// How often each base id occurred.
    pub fn frequency(&self) -> &[u64] {
        &self.frequency
    }

    pub(crate) fn has_same_start(&self) -> bool {
        !self.same_start.is_empty()
    }

    pub(crate) fn has_dtw(&self) -> bool {
        !self.dtw.is_empty()
    }

    /// All pairs on the paths of DTW with their counts, in order.
    pub fn dtw_pairs(&self) -> Vec<(u32, u32, u64)> {
        let mut pairs: Vec<_> =
            self.dtw.iter().map(|(&(base, value), &count)| (base, value, count)).collect();
        pairs.sort_unstable();
        pairs
    }
}

/// Which pairs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Tokens that begin at the same byte of the text.
    SameStart,
    /// Tokens on the path of dynamic time warping, as published.
    Dtw,
}

/// Texts that one core takes at a time.
const TEXTS_AT_ONCE: usize = 256;

/// Counts a corpus piece by piece, so that none has to fit in memory.
pub struct CooccurrenceCounter<'a> {
    base: &'a Vocab,
    value: &'a Vocab,
    token_bytes: Option<(TokenBytes, TokenBytes)>,
    counts: CooccurrenceCounts,
}

impl<'a> CooccurrenceCounter<'a> {
    /// A counter that has seen nothing.
    pub fn new(base: &'a Vocab, value: &'a Vocab, pairing: Pairing) -> Self {
        let token_bytes = (pairing == Pairing::Dtw)
            .then(|| rayon::join(|| TokenBytes::new(base), || TokenBytes::new(value)));
        let counts = CooccurrenceCounts { frequency: vec![0; base.size()], ..CooccurrenceCounts::default() };
        Self { base, value, token_bytes, counts }
    }

    /// The counts.
    pub fn finish(self) -> CooccurrenceCounts {
        self.counts
    }

    /// Counts texts, on all cores. Control tokens are no text and are skipped.
    ///
    /// DTW takes time and memory in proportion to the product of a text's two lengths: give it lines, not books.
    pub fn count(&mut self, texts: &[TextPair]) {
        let Self { base, value, token_bytes, counts } = self;
        let start = || {
            let aligner = token_bytes.as_ref().map(|(base, value)| DtwAligner::new(base, value));
            (aligner, Pairs::default())
        };
        let counted = texts
            .par_chunks(TEXTS_AT_ONCE)
            .fold(start, |(mut aligner, mut pairs), texts| {
                for text in texts {
                    match &mut aligner {
                        Some(aligner) => {
                            let (b, v) = (text_ids(&text.base, base), text_ids(&text.value, value));
                            aligner.path(&b, &v, |b, v| *pairs.entry((b, v)).or_default() += 1);
                        }
                        None => count_same_start(text, base, value, &mut pairs),
                    }
                }
                (aligner, pairs)
            })
            .map(|(_, pairs)| pairs)
            .reduce(Pairs::default, merge);
        let total = if token_bytes.is_some() { &mut counts.dtw } else { &mut counts.same_start };
        *total = merge(std::mem::take(total), counted);
        for token in texts.iter().flat_map(|text| &text.base) {
            if let Some(count) = counts.frequency.get_mut(token.id as usize) {
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

/// The ids of tokens of text.
fn text_ids(text: &[TokenEnd], vocab: &Vocab) -> Vec<u32> {
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

fn count_same_start(text: &TextPair, base: &Vocab, value: &Vocab, pairs: &mut Pairs) {
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
            let mut counter = CooccurrenceCounter::new(&base, &value, pairing);
            counter.count(&[text.clone(), text.clone()]);
            counter.count(std::slice::from_ref(&text));
            counter.finish()
        };
        let (bytes, warped) = (counted(Pairing::SameStart), counted(Pairing::Dtw));
        assert_eq!((bytes.frequency(), warped.frequency()), (&[3, 3, 3, 0][..], &[3, 3, 3, 0][..]));
        assert_eq!(bytes.same_start, Pairs::from_iter([((1, 1), 3), ((2, 2), 3)]));
        assert_eq!(warped.dtw_pairs(), [(1, 1, 3), (2, 2, 3), (2, 3, 3)]);
    }
}
