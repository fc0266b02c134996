//! What a corpus says about two tokenisations: counts.

use std::collections::HashMap;

use ivl_core::{Retokenizer, Vocab, Written};
use rayon::prelude::*;

use crate::warping::{Letters, Warping};

/// Pairs of a base id and a value id, counted.
pub(crate) type Pairs = HashMap<(u32, u32), u64>;

/// One text in the base's tokens and in the value's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextPair {
    /// In the base's tokens.
    pub base: Vec<Written>,
    /// In the value's tokens.
    pub value: Vec<Written>,
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
        let write = |text: &String| Ok(Self { base: base.write(text)?, value: value.write(text)? });
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
    /// Tokens on the path of dynamic time warping, as published; the others as well.
    Warped,
}

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
            (warping, Pairs::new(), Pairs::new())
        };
        let counted = texts
            .par_iter()
            .fold(start, |(mut warping, mut started, mut warped), text| {
                count_started(text, base, value, &mut started);
                if let Some(warping) = &mut warping {
                    let (b, v) = (words(&text.base, base), words(&text.value, value));
                    warping.path(&b, &v, |b, v| *warped.entry((b, v)).or_default() += 1);
                }
                (warping, started, warped)
            })
            .map(|(_, started, warped)| (started, warped))
            .reduce(Default::default, |a, b| (merge(a.0, b.0), merge(a.1, b.1)));
        evidence.started = merge(std::mem::take(&mut evidence.started), counted.0);
        evidence.warped = merge(std::mem::take(&mut evidence.warped), counted.1);
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
fn words(text: &[Written], vocab: &Vocab) -> Vec<u32> {
    text.iter().map(|token| token.id).filter(|&id| !vocab.text_bytes(id).is_empty()).collect()
}

/// Tokens of text with the byte at which each begins; those that add nothing left out.
fn begins<'a>(text: &'a [Written], vocab: &'a Vocab) -> impl Iterator<Item = (usize, u32)> + 'a {
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
    use ivl_core::Token;

    fn vocab(tokens: &[&str]) -> Vocab {
        let text = tokens.iter().map(|token| Some(Token::text(token.as_bytes())));
        Vocab::new(std::iter::once(Some(Token::control("<s>"))).chain(text).collect())
    }

    fn written(tokens: &[(u32, usize)]) -> Vec<Written> {
        tokens.iter().map(|&(id, end)| Written { id, end }).collect()
    }

    #[test]
    fn counts_by_hand() {
        let (base, value) = (vocab(&["under", "standing", "x"]), vocab(&["under", "stand", "ing", "y"]));
        let text = TextPair {
            base: written(&[(0, 0), (1, 5), (2, 13)]),
            value: written(&[(0, 0), (1, 5), (2, 10), (3, 13)]),
        };
        let mut counter = Counter::new(&base, &value, Pairing::Warped);
        counter.count(&[text.clone(), text.clone()]);
        counter.count(&[text]);
        let evidence = counter.finish();
        assert_eq!(evidence.frequency(), [3, 3, 3, 0]);
        assert_eq!(evidence.started, Pairs::from([((1, 1), 3), ((2, 2), 3)]));
        assert_eq!(evidence.warped_pairs(), [(1, 1, 3), (2, 2, 3), (2, 3, 3)]);
    }
}
