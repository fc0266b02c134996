//! Reports of a run in progress.

use std::path::PathBuf;

use ivl_models::EvalCard;
use serde::{Deserialize, Serialize};

/// An event of a run in progress.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins, or continues after `done` steps.
    Start {
        /// Steps done before.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// A corrupt checkpoint was skipped in favour of an earlier one.
    CorruptCheckpoint {
        /// Its directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// An optimizer step.
    Step(StepReport),
    /// Held-out loss.
    Eval(EvalReport),
    /// A checkpoint is being written.
    Checkpoint {
        /// After how many steps.
        step: usize,
    },
    /// The held-out loss no longer falls: the run ends before its last step.
    StoppedEarly {
        /// After how many steps.
        step: usize,
        /// Where it was lowest, and how low.
        best: Option<Best>,
    },
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Counted from 1.
    pub step: usize,
    /// Mean of what is minimised, without the penalties: over the trained tokens the cross-entropy, or the divergence from a
    /// teacher; or over pairs their loss.
    pub loss: f64,
    /// Mean `|v|_1 / vocab`.
    pub value_norm: f64,
    /// Mean `KL(fused, base)`; 0 where it has no weight.
    pub kl: f64,
    /// Share of the pairs whose chosen answer has the larger reward; only for pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean difference of the rewards of chosen and rejected answers; only for pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Trained tokens.
    pub tokens: usize,
    /// Trained tokens a second.
    pub tokens_per_second: f64,
}

/// Held-out loss on one base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// After how many steps.
    pub step: usize,
    /// Which base; none if the model is trained by itself.
    pub base: Option<String>,
    /// Mean loss of the base by itself.
    pub base_loss: Option<f64>,
    /// Mean loss with the value.
    pub loss: f64,
    /// Mean `KL(fused, base)`.
    pub kl: Option<f64>,
    /// Share of the pairs whose chosen answer has the larger reward; only for pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean difference of the rewards of chosen and rejected answers; only for pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Held-out tokens.
    pub tokens: usize,
}

impl EvalReport {
    /// The part of the report that a value card keeps; `None` for a model trained without a base.
    pub fn card(&self) -> Option<EvalCard> {
        let (base, base_loss) = (self.base.clone()?, self.base_loss?);
        Some(EvalCard { base, base_loss, loss: self.loss, kl: self.kl, tokens: self.tokens })
    }
}

/// The lowest held-out figure so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After how many steps.
    pub step: usize,
    /// The figure that was watched.
    pub loss: f64,
    /// Trained tokens seen until then.
    pub tokens: u64,
    /// The held-out losses it was made from.
    pub evals: Vec<EvalReport>,
}
