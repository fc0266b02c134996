//! The configuration of a benchmark.

use crate::open_options::OpenOptions;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Decoding with a value, compared with the base without it.
    Fused,
    /// Decoding.
    Decode,
    /// Reading a prompt.
    Prefill,
    /// Scoring eight texts.
    Score,
    /// A training step of the value against the model.
    Train,
}

/// The configuration of a benchmark.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BenchConfig {
    /// The measurements.
    pub measures: Vec<Measure>,
    /// Rows that are decoded together.
    pub rows: Vec<usize>,
    /// Tokens read before decoding.
    pub context: usize,
    /// Tokens decoded in a round.
    pub tokens: usize,
    /// Tokens of a prompt, and of each text that is scored.
    pub prompt: usize,
    /// Rounds of each measurement, after one that does not count.
    pub rounds: usize,
    /// Seed of random weights.
    pub seed: u64,
    /// Device and type of the weights.
    pub options: OpenOptions,
}

impl Default for BenchConfig {
    fn default() -> Self {
        Self {
            measures: vec![Measure::Fused, Measure::Decode, Measure::Prefill, Measure::Score],
            rows: vec![1, 8, 16, 32],
            context: 64,
            tokens: 32,
            prompt: 256,
            rounds: 5,
            seed: 0,
            options: OpenOptions::new(),
        }
    }
}

impl BenchConfig {
    /// The measurements.
    #[must_use]
    pub fn measures(mut self, measures: Vec<Measure>) -> Self {
        self.measures = measures;
        self
    }

    /// Rows that are decoded together.
    #[must_use]
    pub fn rows(mut self, rows: Vec<usize>) -> Self {
        self.rows = rows;
        self
    }

    /// Tokens read before decoding.
    #[must_use]
    pub fn context(mut self, context: usize) -> Self {
        self.context = context;
        self
    }

    /// Tokens decoded in a round.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = tokens;
        self
    }

    /// Tokens of a prompt, and of each text that is scored.
    #[must_use]
    pub fn prompt(mut self, prompt: usize) -> Self {
        self.prompt = prompt;
        self
    }

    /// Rounds of each measurement.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// Seed of random weights.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Device and type of the weights.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Whether a measurement is wanted.
    pub(super) fn measures_any(&self, measure: Measure) -> bool {
        self.measures.contains(&measure)
    }
}
