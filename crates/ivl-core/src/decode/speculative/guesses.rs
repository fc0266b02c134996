//! Drafted tokens.

use std::time::Duration;

use crate::fusion::ValueRows;

/// Drafted tokens, and the values' logits on the way to them: after the last token of the text and after each drafted one
/// but the last.
#[derive(Default)]
pub(super) struct Guesses {
    pub(super) tokens: Vec<u32>,
    pub(super) values: Vec<ValueRows>,
    pub(super) took: Duration,
}
