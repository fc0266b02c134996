//! Counts of the rows of a source.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::config::Format;
use crate::data::encoder::EncodeOptions;
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
    /// Examples made of them: rows with a trained token, or pairs with one in either answer.
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
    /// Rows that were left out because they are too long.
    #[serde(default)]
    pub too_long: usize,
    /// Rows that were left out because of an error.
    #[serde(default)]
    pub skipped: usize,
    /// The first of these errors.
    #[serde(default)]
    pub first_error: Option<String>,
}

impl SourceReport {
    /// Of a source that nothing was read of yet.
    pub fn new(path: PathBuf, format: Format) -> Self {
        Self {
            path,
            format,
            rows: 0,
            examples: 0,
            truncated: 0,
            dropped: 0,
            tokens: 0,
            trained: 0,
            cut: 0,
            too_long: 0,
            skipped: 0,
            first_error: None,
        }
    }

    /// Counts a row that is left out because of an error.
    pub(crate) fn skip(&mut self, error: &Error) {
        self.rows += 1;
        self.skipped += 1;
        self.first_error.get_or_insert_with(|| with_causes(error));
    }

    /// Counts the examples of a row, cut to the longest length if that is wanted; none if one of them is too long or has no
    /// trained token.
    pub(crate) fn admit(&mut self, mut examples: Vec<Example>, options: EncodeOptions) -> Vec<Example> {
        let max_length = options.max_length;
        self.rows += 1;
        let longest = examples.iter().map(|example| example.ids.len()).max().unwrap_or(0);
        if longest > max_length && options.drop_longer {
            self.too_long += 1;
            return Vec::new();
        }
        if longest > max_length {
            self.truncated += 1;
        }
        for example in &mut examples {
            self.cut += example.ids.len().saturating_sub(max_length) as u64;
            example.truncate(max_length);
        }
        if examples.iter().any(|example| example.trained_tokens() == 0) {
            self.dropped += 1;
            return Vec::new();
        }
        self.examples += 1;
        self.tokens += examples.iter().map(|example| example.ids.len() as u64).sum::<u64>();
        self.trained += examples.iter().map(|example| example.trained_tokens() as u64).sum::<u64>();
        examples
    }
}

/// An error with its causes, as one line.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(reason) = cause {
        text = format!("{text}: {reason}");
        cause = reason.source();
    }
    text
}
