//! The configuration of low-rank adapters.

use serde::{Deserialize, Serialize};

use crate::config::{FeedForward, Mixer, ModelConfig};

/// Which projections are adapted, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank of the update: the usual 16.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`: twice the rank, as is the custom.
    pub alpha: f64,
    /// Names of projections: all of them, which works best.
    pub targets: Vec<Projection>,
    /// Add the update to the weights when it is saved. Otherwise only adapters are saved, in the layout of PEFT: small, and
    /// the model that they were trained on shares its memory with them.
    pub merge: bool,
}

impl LoraConfig {
    /// Adapters of this rank on every projection, scaled by two.
    pub fn new(rank: usize) -> Self {
        Self { rank, alpha: 2.0 * rank as f64, targets: Projection::ALL.to_vec(), merge: false }
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new(16)
    }
}

/// A projection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Projection {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// Every projection of a block.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its place in a block.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Query => "attention.query",
            Self::Key => "attention.key",
            Self::Value => "attention.value",
            Self::Output => "attention.output",
            Self::Gate => "mlp.gate",
            Self::Up => "mlp.up",
            Self::Down => "mlp.down",
        }
    }

    /// Whether a model has it. Experts and recurrent layers are not adapted.
    pub(crate) fn is_in(self, config: &ModelConfig) -> bool {
        let is_dense = || config.layers.iter().any(|layer| layer.feed_forward == FeedForward::Dense);
        match self {
            Self::Query | Self::Key | Self::Value | Self::Output => {
                config.layers.iter().any(|layer| layer.mixer == Mixer::Attention)
            }
            Self::Up | Self::Down => is_dense(),
            Self::Gate => config.mlp.gated && is_dense(),
        }
    }
}
