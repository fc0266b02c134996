//! Coverage: the share of a base's vocabulary that a value has logits for.

use ivl_core::{Vocab, VocabMap};
use serde::Serialize;

use super::passage::Passage;

/// Shares of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MapCoverage {
    /// Of the base's tokens, those with a value.
    pub vocabulary: f64,
    /// Of the tokens of the answers, those with a value.
    pub answers: f64,
    /// Of the tokens of the answers, those whose value is that of the very same token.
    pub exact: f64,
}

impl MapCoverage {
    /// The coverage of a map, by vocabulary and by tokens of these answers.
    pub fn new(map: &VocabMap, base: &Vocab, value: &Vocab, passages: &[Passage]) -> Self {
        let known = || (0..base.size() as u32).filter(|&id| base.token(id).is_some());
        let mapped = |id: &u32| map.value_id(*id).is_some();
        let same = |id: &u32| map.value_id(*id).is_some_and(|other| value.token(other) == base.token(*id));
        let answers: Vec<u32> = passages.iter().flat_map(Passage::answer).collect();
        let share = |some: usize, all: usize| some as f64 / all.max(1) as f64;
        Self {
            vocabulary: share(known().filter(mapped).count(), known().count()),
            answers: share(answers.iter().filter(|&id| mapped(id)).count(), answers.len()),
            exact: share(answers.iter().filter(|&id| same(id)).count(), answers.len()),
        }
    }
}
