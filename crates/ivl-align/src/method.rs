//! The ways to find a value id for a base id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::counts::Pairing;

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

    /// Its name in map files.
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
            Self::CoOccurrence => Some(Pairing::SameStart),
            Self::CoOccurrencePublished => Some(Pairing::Dtw),
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
