//! How much of a base a map covers.

use std::fmt;

use ivl_core::Vocab;
use ivl_core::vocab::Role;
use serde::{Deserialize, Serialize};

use crate::counts::CooccurrenceCounts;

/// How one base id was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Same bytes, or a control token of the same name.
    Exact,
    /// A control token of the same role.
    Role,
    /// The longest shared first bytes.
    Prefix,
    /// The fewest edits.
    EditDistance,
    /// MatchCounts over a corpus.
    CoOccurrence,
}

/// Base ids by how they were matched, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct MatchCounts {
    /// Same bytes, or a control token of the same name.
    pub exact: u64,
    /// A control token of the same role.
    pub role: u64,
    /// The longest shared first bytes.
    pub prefix: u64,
    /// The fewest edits.
    pub edit_distance: u64,
    /// MatchCounts over a corpus.
    pub co_occurrence: u64,
    /// No value.
    pub unmapped: u64,
}

impl MatchCounts {
    fn add(&mut self, how: Option<Match>, count: u64) {
        let field = match how {
            Some(Match::Exact) => &mut self.exact,
            Some(Match::Role) => &mut self.role,
            Some(Match::Prefix) => &mut self.prefix,
            Some(Match::EditDistance) => &mut self.edit_distance,
            Some(Match::CoOccurrence) => &mut self.co_occurrence,
            None => &mut self.unmapped,
        };
        *field += count;
    }

    /// Everything that is mapped but not exactly.
    pub fn approximate(&self) -> u64 {
        self.role + self.prefix + self.edit_distance + self.co_occurrence
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.exact + self.approximate() + self.unmapped
    }
}

/// A base token and its value token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchExample {
    /// The base's token.
    pub base: String,
    /// The value's token, if there is one.
    pub value: Option<String>,
    /// How it was found.
    pub how: Option<Match>,
}

/// How much of a base a map covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Every token of the base once.
    pub tokens: MatchCounts,
    /// Every token as often as the corpus has it, if there was one.
    pub corpus: Option<MatchCounts>,
    /// Tokens that are matched approximately or not at all: the most frequent of the corpus, else spread over the ids.
    pub examples: Vec<MatchExample>,
}

/// Examples that a report shows.
const EXAMPLES: usize = 20;

impl Coverage {
    pub(crate) fn new(
        base: &Vocab,
        value: &Vocab,
        found: &[Option<(u32, Match)>],
        counts: Option<&CooccurrenceCounts>,
    ) -> Self {
        let known: Vec<u32> = (0..base.size() as u32).filter(|&id| base.token(id).is_some()).collect();
        let how = |id: u32| found[id as usize].map(|(_, how)| how);
        let frequency =
            |id: u32| counts.and_then(|counts| counts.frequency().get(id as usize)).copied().unwrap_or(0);
        let (mut tokens, mut corpus) = (MatchCounts::default(), MatchCounts::default());
        for &id in &known {
            tokens.add(how(id), 1);
            corpus.add(how(id), frequency(id));
        }
        let text = |vocab: &Vocab, id: u32| {
            vocab.token(id).map_or_else(String::new, |t| String::from_utf8_lossy(&t.bytes).into_owned())
        };
        let example = |id: u32| MatchExample {
            base: text(base, id),
            value: found[id as usize].map(|(other, _)| text(value, other)),
            how: how(id),
        };
        let inexact = |id: &u32| how(*id) != Some(Match::Exact) && !base.plays(*id, Role::Padding);
        let mut order: Vec<u32> = known.into_iter().filter(inexact).collect();
        if corpus.total() > 0 {
            order.sort_by_key(|&id| (std::cmp::Reverse(frequency(id)), id));
        } else {
            let step = order.len().div_ceil(EXAMPLES).max(1);
            order = order.into_iter().step_by(step).collect();
        }
        let examples = order.into_iter().take(EXAMPLES).map(example).collect();
        Self { tokens, corpus: (corpus.total() > 0).then_some(corpus), examples }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, counts: &MatchCounts| {
            let share = |count: u64| 100.0 * count as f64 / counts.total().max(1) as f64;
            writeln!(
                f,
                "{what}: {:.2}% exact ({}), {:.2}% approximate ({}), {:.2}% without a value ({})",
                share(counts.exact),
                counts.exact,
                share(counts.approximate()),
                counts.approximate(),
                share(counts.unmapped),
                counts.unmapped,
            )
        };
        line("tokens of the base", &self.tokens)?;
        if let Some(corpus) = &self.corpus {
            line("tokens of the corpus", corpus)?;
        }
        for MatchExample { base, value, .. } in &self.examples {
            match value {
                Some(value) => writeln!(f, "  {base:?} -> {value:?}")?,
                None => writeln!(f, "  {base:?} has no value")?,
            }
        }
        Ok(())
    }
}
