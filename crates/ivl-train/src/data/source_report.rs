//! Counts of the rows of a source.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Format;
use crate::data::example::Example;

/// Counts of the rows of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its path.
    pub path: PathBuf,
    /// The format of its rows.
    pub format: Format,
    /// Rows read.
    pub rows: usize,
    /// Examples made of them: rows with a trained token.
    pub examples: usize,
    /// Rows that were cut to the longest length.
    pub truncated: usize,
    /// Rows without a trained token.
    pub dropped: usize,
    /// Tokens of the examples.
    pub tokens: u64,
    /// Those of them that are trained.
    #[serde(rename = "learnt")]
    pub trained: u64,
    /// Tokens that were cut off.
    pub cut: u64,
}

impl SourceReport {
    /// Of a source that nothing was read of yet.
    pub fn new(path: PathBuf, format: Format) -> Self {
        Self { path, format, rows: 0, examples: 0, truncated: 0, dropped: 0, tokens: 0, trained: 0, cut: 0 }
    }

    /// Cuts an example to the longest length and counts it; none if no trained token is left of it.
    pub fn admit(&mut self, mut example: Example, max_length: usize) -> Option<Example> {
        self.rows += 1;
        if example.ids.len() > max_length {
            self.truncated += 1;
            self.cut += (example.ids.len() - max_length) as u64;
            example.truncate(max_length);
        }
        let trained = example.trained_tokens();
        if trained == 0 {
            self.dropped += 1;
            return None;
        }
        self.examples += 1;
        self.tokens += example.ids.len() as u64;
        self.trained += trained as u64;
        Some(example)
    }
}
