//! The bases in a value's card.

use serde::{Deserialize, Serialize};

/// A base that a value was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseCard {
    /// As named in the configuration.
    pub name: String,
    /// SHA-256 of its `config.json`.
    pub config: String,
    /// Fingerprint of its tokenizer.
    pub tokenizer: String,
}
