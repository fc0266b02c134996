//! Checkpoints and held-out losses of a run.

use serde::{Deserialize, Serialize};

/// Checkpoints to resume from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct CheckpointConfig {
    /// Steps between two; 0 for no such limit.
    pub every: usize,
    /// Most minutes of work between two, so that a crash loses no more; 0 for no such limit. One is always written when the
    /// run ends or is stopped.
    pub minutes: f64,
    /// How many are kept.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 0, minutes: 10.0, keep: 2 }
    }
}

/// Held-out loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct EvalConfig {
    /// Steps between two evaluations; 0 for one before and one after training.
    pub every: usize,
    /// Examples in a forward pass.
    pub batch_size: usize,
    /// Other bases to plug the value into: none of them is trained on.
    pub bases: Vec<String>,
    /// For those of another vocabulary: a method of `ivl align` that needs no corpus, such as `hybrid`, or a map file.
    pub map: Option<String>,
    /// The held-out figure that is watched: the loss on this base, named as it is elsewhere. Without it the mean over
    /// all of them: a value is made to be plugged into any.
    pub figure: Option<String>,
    /// Evaluations without improvement after which the run ends; 0 runs to the end, as the paper does.
    pub patience: usize,
    /// Fall of the figure, in nats, that counts as an improvement.
    pub min_improvement: f64,
    /// Which value is the result.
    pub result: ResultKind,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 0,
            batch_size: 8,
            bases: Vec::new(),
            map: None,
            figure: None,
            patience: 0,
            min_improvement: 0.0,
            result: ResultKind::Best,
        }
    }
}

/// The value that a run writes. If the held-out loss is measured during training, the best value is wanted,
/// so `best` is the default; without evaluation during training there is only the last one, and both are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    /// The one with the lowest held-out figure.
    #[default]
    Best,
    /// The one of the last step.
    Last,
}
