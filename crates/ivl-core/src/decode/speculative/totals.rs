//! How often drafts were right.

use super::SpeculativeRound;

/// Counts of drafted and accepted tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpeculationTotals {
    /// Passes of the target, without those over prompts.
    pub rounds: usize,
    /// Tokens drafted.
    pub drafted: usize,
    /// Drafted tokens that the target chose too.
    pub accepted: usize,
}

impl SpeculationTotals {
    /// Adds a round.
    pub fn add(&mut self, round: &SpeculativeRound) {
        self.rounds += 1;
        self.drafted += round.drafted;
        self.accepted += round.accepted;
    }

    /// The share of drafted tokens that were accepted; `None` if none was drafted.
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.accepted as f64 / self.drafted as f64)
    }
}
