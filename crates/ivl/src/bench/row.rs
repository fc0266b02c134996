//! Rounds of one measurement, each beside its ceiling.

use burn::tensor::Device;

use crate::error::Result;
use crate::memory::Memory;

/// The bound of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Weights are read once for all rows of a step.
    Read,
    /// Every token is multiplied with every weight.
    Multiply,
}

impl Bound {
    /// `memory` or `arithmetic`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "memory",
            Self::Multiply => "arithmetic",
        }
    }
}

/// Rounds of one measurement.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BenchRow {
    /// The measurement.
    pub measure: &'static str,
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens of a round.
    pub tokens: usize,
    /// Its bound.
    pub bound: Bound,
    /// Tokens in a second, and what the ceiling of the same round allows.
    pub rounds: Vec<(f64, f64)>,
    /// After the first round and after the last.
    pub memory: [Memory; 2],
}

impl BenchRow {
    /// A row without rounds.
    pub(super) fn empty(device: &Device) -> Self {
        let memory = [Memory::now(device); 2];
        Self { measure: "", rows: 0, tokens: 0, bound: Bound::Read, rounds: Vec::new(), memory }
    }

    /// Takes rounds, after one that does not count: a device compiles and chooses its kernels when they are first needed, and
    /// caches find their room.
    pub(super) fn measured(
        mut self,
        rounds: usize,
        device: &Device,
        mut round: impl FnMut() -> Result<(f64, f64)>,
    ) -> Result<Self> {
        round()?;
        self.rounds.push(round()?);
        self.memory[0] = Memory::now(device);
        for _ in 1..rounds {
            self.rounds.push(round()?);
        }
        self.memory[1] = Memory::now(device);
        Ok(self)
    }

    /// The median of the tokens in a second.
    pub fn speed(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0).collect())
    }

    /// The median of what the ceilings allow.
    pub fn ceiling(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.1).collect())
    }

    /// The median of each round's share of its ceiling.
    pub fn share(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0 / round.1).collect())
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
