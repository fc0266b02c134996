//! The search of an alignment: control tokens first, then what the method finds, then how much of the base is covered.

use ivl_core::cross_tokenizer::ByteTrie;
use ivl_core::{Vocab, VocabMap};
use rayon::prelude::*;

use crate::co_occurrence::{by_published_weights, by_same_start};
use crate::controls::controls;
use crate::counts::CooccurrenceCounts;
use crate::coverage::{Coverage, Match};
use crate::edit_distance::NearestTokens;
use crate::error::Error;
use crate::exact::exact;
use crate::method::Method;
use crate::prefix::prefix;

/// A map and how much of the base it covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    /// From base ids to value ids.
    pub map: VocabMap,
    /// How it was made.
    pub method: Method,
    /// How much it covers.
    pub coverage: Coverage,
}

/// Base ids between two calls of `progress`.
const STEP: usize = 1024;

/// Aligns two vocabularies: for every base id, the value id whose logit is added to it.
///
/// `counts` come from a corpus. Both co-occurrence methods need them, `hybrid` uses them if there are any, and with every
/// method they weight the coverage. `progress` is called from any thread with the number of base ids that were searched
/// since the last call.
///
/// # Errors
/// [`Error::NoText`] for a vocabulary without text, [`Error::NoCorpus`] if counts are needed and missing,
/// [`Error::NothingMapped`] if not one base token finds a value token.
pub fn align(
    base: &Vocab,
    value: &Vocab,
    method: Method,
    counts: Option<&CooccurrenceCounts>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Alignment, Error> {
    let trie = ByteTrie::new(value);
    if trie.is_empty() {
        return Err(Error::NoText { which: "value" });
    }
    if (0..base.size() as u32).all(|id| base.text_bytes(id).is_empty()) {
        return Err(Error::NoText { which: "base" });
    }
    let counts = counts.filter(|counts| counts.frequency().iter().any(|&count| count > 0));
    let mut search = Search { base, value, trie: &trie, progress, found: controls(base, value) };
    let weights = search.run(method, counts)?;
    search.note_equal_bytes();
    let found = search.found;
    let coverage = Coverage::new(base, value, &found, counts);
    if coverage.tokens.exact + coverage.tokens.approximate() == 0 {
        return Err(Error::NothingMapped { method, tokens: coverage.tokens.total() as usize });
    }
    let map = VocabMap::new(found.into_iter().map(|found| found.map(|(id, _)| id)).collect(), base, value)?;
    let map = match weights {
        Some(weights) => map.with_weights(weights)?,
        None => map,
    };
    Ok(Alignment { map, method, coverage })
}

/// The matches so far, and the index of the value's tokens.
struct Search<'a> {
    base: &'a Vocab,
    value: &'a Vocab,
    trie: &'a ByteTrie,
    progress: &'a (dyn Fn(usize) + Sync),
    /// For every base id, the value id and how it was found.
    found: Vec<Option<(u32, Match)>>,
}

impl Search<'_> {
    /// Finds what a method finds; the weights of the map, if the method has any.
    fn run(
        &mut self,
        method: Method,
        counts: Option<&CooccurrenceCounts>,
    ) -> Result<Option<Vec<f32>>, Error> {
        let counted = |pairs: fn(&CooccurrenceCounts) -> bool| {
            counts.filter(|counts| pairs(counts)).ok_or(Error::NoCorpus { method })
        };
        match method {
            Method::Exact => self.add(Match::Exact, exact(self.base, self.value, self.trie)),
            Method::Prefix => self.add_prefixes(),
            Method::EditDistance => {
                self.add(Match::Exact, exact(self.base, self.value, self.trie));
                let nearest = NearestTokens::new(self.trie);
                let base = self.base;
                self.add(Match::EditDistance, self.each(&|id| nearest.find(base, id)));
            }
            Method::CoOccurrence => {
                let counts = counted(CooccurrenceCounts::has_same_start)?;
                self.add(Match::CoOccurrence, by_same_start(counts, self.base, self.value));
            }
            Method::CoOccurrencePublished => {
                let counts = counted(CooccurrenceCounts::has_dtw)?;
                let published = by_published_weights(counts, self.base, self.value);
                let ids = published.iter().map(|found| found.map(|(id, _)| id)).collect();
                self.add(Match::CoOccurrence, ids);
                return Ok(Some(
                    published.iter().map(|found| found.map_or(1.0, |(_, weight)| weight)).collect(),
                ));
            }
            Method::Hybrid => {
                self.add(Match::Exact, exact(self.base, self.value, self.trie));
                if let Some(counts) = counts {
                    self.add(Match::CoOccurrence, by_same_start(counts, self.base, self.value));
                }
                self.add_prefixes();
            }
        }
        Ok(None)
    }

    fn add_prefixes(&mut self) {
        let (base, trie) = (self.base, self.trie);
        self.add(Match::Prefix, self.each(&|id| prefix(base, id, trie)));
    }

    /// Takes what was found for base ids that have nothing yet.
    fn add(&mut self, how: Match, ids: Vec<Option<u32>>) {
        for (found, id) in self.found.iter_mut().zip(ids) {
            *found = found.or(id.map(|id| (id, how)));
        }
    }

    /// Searches for every base id of text that has nothing yet, on all cores.
    fn each(&self, find: &(dyn Fn(u32) -> Option<u32> + Sync)) -> Vec<Option<u32>> {
        let search = |&id: &u32| {
            let is_open = self.found[id as usize].is_none() && !self.base.text_bytes(id).is_empty();
            is_open.then(|| find(id)).flatten()
        };
        let ids: Vec<u32> = (0..self.base.size() as u32).collect();
        ids.par_chunks(STEP)
            .flat_map_iter(|ids| {
                let found: Vec<Option<u32>> = ids.iter().map(search).collect();
                (self.progress)(ids.len());
                found
            })
            .collect()
    }

    /// Equal bytes are an exact match, whatever found it.
    fn note_equal_bytes(&mut self) {
        for (id, found) in self.found.iter_mut().enumerate() {
            let bytes = self.base.text_bytes(id as u32);
            if let Some((other, how)) = found
                && !bytes.is_empty()
                && bytes == self.value.text_bytes(*other)
            {
                *how = Match::Exact;
            }
        }
    }
}
