//! A row of the table: rounds of one measurement, each beside its floor.

use anyhow::Result;
use burn::tensor::Device;
use serde_json::{Value, json};

use super::Setting;
use crate::memory::Memory;

/// What bounds a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Weights are read once for all rows of a step.
    Read,
    /// Every token is multiplied with every weight.
    Multiply,
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "memory",
            Self::Multiply => "arithmetic",
        }
    }
}

/// Rounds of one measurement.
pub struct Row {
    pub measure: &'static str,
    pub rows: usize,
    pub tokens: usize,
    pub bound: Bound,
    /// Tokens in a second, and what the floor of the same round allows.
    rounds: Vec<(f64, f64)>,
    /// After the first round and after the last.
    memory: [Memory; 2],
}

impl Row {
    /// Takes as many rounds as the setting says, after one that does not count: a device compiles and chooses its kernels when
    /// they are first asked for, and caches find their room.
    pub fn measure(
        (measure, bound): (&'static str, Bound),
        [rows, tokens]: [usize; 2],
        (rounds, device): (usize, &Device),
        mut round: impl FnMut() -> Result<(f64, f64)>,
    ) -> Result<Self> {
        round()?;
        let mut taken = vec![round()?];
        let first = Memory::now(device);
        for _ in 1..rounds {
            taken.push(round()?);
        }
        Ok(Self { measure, rows, tokens, bound, rounds: taken, memory: [first, Memory::now(device)] })
    }

    fn speed(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0).collect())
    }

    fn floor(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.1).collect())
    }

    /// The median of each round's share of its floor.
    fn share(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0 / round.1).collect())
    }

    pub fn json(&self, setting: &Setting) -> Value {
        json!({
            "model": setting.name,
            "measure": self.measure,
            "rows": self.rows,
            "tokens": self.tokens,
            "tokens_per_second": self.speed(),
            "floor": { "of": self.bound.name(), "tokens_per_second": self.floor() },
            "share_of_floor": self.share(),
            "rounds": self.rounds.len(),
            "memory": { "first": self.memory[0].json(), "last": self.memory[1].json() },
            "device": setting.device,
            "dtype": setting.dtype,
            "threads": ivl_kernels::threads(),
        })
    }

    /// A line of the table on a terminal.
    pub fn line(&self) -> String {
        format!(
            "{:14} {:>5} {:>12.1} {:>12.1}  {:>16} {:>12}",
            self.measure,
            self.rows,
            self.speed(),
            self.floor(),
            format!("{:.2} of {}", self.share(), self.bound.name()),
            self.memory[1].of_tensors().map_or(String::new(), |mib| format!("{mib:.0} MiB")),
        )
    }

    /// What the columns of [`line`](Self::line) are.
    pub fn header() -> String {
        format!(
            "{:14} {:>5} {:>12} {:>12}  {:>16} {:>12}",
            "", "rows", "tokens/s", "floor", "share", "memory"
        )
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
