//! The place of a row in its file, for messages.

use std::path::PathBuf;

/// The place of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub path: PathBuf,
    /// `line` or `row`.
    pub unit: &'static str,
    /// Counted from one.
    pub number: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of `{}`", self.unit, self.number, self.path.display())
    }
}
