//! Two vocabularies in, a [`VocabMap`] out.
//!
//! A value speaks about tokens by its own ids. To add it to a base of another family, every base id needs the value id
//! that speaks about the same piece of text. Vocabularies are compared as bytes: how a tokenizer writes a space is
//! already undone in [`Vocab`].
//!
//! # Example: align two vocabularies
//!
//! ```
//! use ivl_align::{Method, align};
//! use ivl_core::{Vocab, vocab::Token};
//!
//! let tokens = |tokens: &[&str]| Vocab::new(tokens.iter().map(|t| Some(Token::text(t.as_bytes()))).collect());
//! let base = tokens(&[" the", "a", " theme", "zebra"]);
//! let value = tokens(&["a", " the"]);
//! let alignment = align(&base, &value, Method::Hybrid, None, &|_| ())?;
//! assert_eq!(alignment.map.value_ids(), [Some(1), Some(0), Some(1), None]);
//! assert_eq!(alignment.coverage.tokens.exact, 2);
//! # Ok::<(), ivl_align::Error>(())
//! ```

mod co_occurrence;
mod controls;
mod coverage;
mod edit_distance;
mod error;
mod evidence;
mod exact;
mod map_file;
mod prefix;
mod warping;

use std::fmt;
use std::str::FromStr;

use ivl_core::cross_tokenizer::ByteTrie;
use ivl_core::{Vocab, VocabMap};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use coverage::{Counts, Coverage, Example, Match};
pub use error::Error;
pub use evidence::{Counter, Evidence, Pairing, TextPair};
pub use map_file::MapFile;

/// How the value id of a base id is found. Control tokens are paired by name and role in every method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Same bytes; anything else gets no value.
    Exact,
    /// The longest shared first bytes.
    Prefix,
    /// The fewest edits of bytes (FuseLLM's MinED).
    EditDistance,
    /// The value token that most often begins at the same byte of a corpus.
    CoOccurrence,
    /// The published method: dynamic time warping over a corpus, normalised counts as weights.
    CoOccurrencePublished,
    /// Exact; else, with a corpus, co-occurrence; else prefix.
    Hybrid,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 6] = [
        Self::Exact,
        Self::Prefix,
        Self::EditDistance,
        Self::CoOccurrence,
        Self::CoOccurrencePublished,
        Self::Hybrid,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::EditDistance => "edit-distance",
            Self::CoOccurrence => "co-occurrence",
            Self::CoOccurrencePublished => "co-occurrence-published",
            Self::Hybrid => "hybrid",
        }
    }

    /// The counts that the method needs from a corpus; none if it works without one.
    pub fn needs(self) -> Option<Pairing> {
        match self {
            Self::CoOccurrence => Some(Pairing::Bytes),
            Self::CoOccurrencePublished => Some(Pairing::Warped),
            _ => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or(())
    }
}

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
/// `evidence` are counts over a corpus: two methods need them, `hybrid` uses them, and for all they weigh the coverage.
/// `progress` is called from any thread with the number of base ids that were searched since the last call.
///
/// # Errors
/// [`Error::NoText`] for a vocabulary without text, [`Error::NoCorpus`] if counts are needed and missing,
/// [`Error::NothingMapped`] if not one base token finds a value token.
pub fn align(
    base: &Vocab,
    value: &Vocab,
    method: Method,
    evidence: Option<&Evidence>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Alignment, Error> {
    let trie = ByteTrie::new(value);
    if trie.is_empty() {
        return Err(Error::NoText { which: "value" });
    }
    if (0..base.size() as u32).all(|id| base.text_bytes(id).is_empty()) {
        return Err(Error::NoText { which: "base" });
    }
    let need = |counted: bool| if counted { Ok(()) } else { Err(Error::NoCorpus { method }) };
    let evidence = evidence.filter(|evidence| evidence.frequency.iter().any(|&count| count > 0));
    let mut found = controls::controls(base, value);
    let mut weights = None;
    let exact = || as_matches(exact::exact(base, value, &trie), Match::Exact);
    match (method, evidence) {
        (Method::Exact, _) => fill(&mut found, exact()),
        (Method::Prefix, _) => {
            let prefix = |id| prefix::prefix(base, id, &trie);
            fill(&mut found, search(base, &|_| true, progress, Match::Prefix, &prefix));
        }
        (Method::EditDistance, _) => {
            fill(&mut found, exact());
            let nearest = edit_distance::Nearest::new(&trie);
            let open = |id: u32| found[id as usize].is_none();
            let nearest = search(base, &open, progress, Match::EditDistance, &|id| nearest.find(base, id));
            fill(&mut found, nearest);
        }
        (Method::CoOccurrence, Some(evidence)) => {
            need(!evidence.started.is_empty())?;
            fill(&mut found, as_matches(co_occurrence::by_bytes(evidence, base, value), Match::CoOccurrence));
        }
        (Method::CoOccurrencePublished, Some(evidence)) => {
            need(!evidence.warped.is_empty())?;
            let published = co_occurrence::as_published(evidence, base, value);
            weights = Some(published.iter().map(|found| found.map_or(1.0, |(_, weight)| weight)).collect());
            let ids = published.into_iter().map(|found| found.map(|(id, _)| id)).collect();
            fill(&mut found, as_matches(ids, Match::CoOccurrence));
        }
        (Method::CoOccurrence | Method::CoOccurrencePublished, None) => need(false)?,
        (Method::Hybrid, evidence) => {
            fill(&mut found, exact());
            if let Some(evidence) = evidence {
                let met = co_occurrence::by_bytes(evidence, base, value);
                fill(&mut found, as_matches(met, Match::CoOccurrence));
            }
            let open = |id: u32| found[id as usize].is_none();
            let rest = search(base, &open, progress, Match::Prefix, &|id| prefix::prefix(base, id, &trie));
            fill(&mut found, rest);
        }
    }
    found.iter_mut().enumerate().for_each(|(id, found)| note_equal(base, value, id as u32, found));
    let coverage = Coverage::new(base, value, &found, evidence);
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

type Found = Vec<Option<(u32, Match)>>;

fn as_matches(ids: Vec<Option<u32>>, how: Match) -> Found {
    ids.into_iter().map(|id| id.map(|id| (id, how))).collect()
}

fn fill(found: &mut Found, more: Found) {
    for (found, more) in found.iter_mut().zip(more) {
        *found = found.or(more);
    }
}

/// A search for every base id of text that is `open`, on all cores.
fn search(
    base: &Vocab,
    open: &(dyn Fn(u32) -> bool + Sync),
    progress: &(dyn Fn(usize) + Sync),
    how: Match,
    find: &(dyn Fn(u32) -> Option<u32> + Sync),
) -> Found {
    let ids: Vec<u32> = (0..base.size() as u32).collect();
    let wanted = |id: u32| open(id) && !base.text_bytes(id).is_empty();
    let search = |&id: &u32| wanted(id).then(|| find(id)).flatten().map(|id| (id, how));
    ids.par_chunks(STEP)
        .flat_map_iter(|ids| {
            let found: Found = ids.iter().map(search).collect();
            progress(ids.len());
            found
        })
        .collect()
}

/// Whatever found it: equal bytes are an exact match.
fn note_equal(base: &Vocab, value: &Vocab, id: u32, found: &mut Option<(u32, Match)>) {
    if let Some((other, how)) = found
        && !base.text_bytes(id).is_empty()
        && base.text_bytes(id) == value.text_bytes(*other)
    {
        *how = Match::Exact;
    }
}
