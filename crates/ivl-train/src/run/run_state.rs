//! What a run knows of its past besides weights, optimizer and schedule.

use serde::{Deserialize, Serialize};

use crate::run::early_stopping::Watch;
use crate::run::report::{EvalReport, StepReport};

/// A part of every checkpoint, so that a resumed run knows what an uninterrupted one would. The order of the data is no
/// part of it: it is a function of the seed ([`Plan`](crate::Plan)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Learnt tokens seen, by all processes of the run.
    pub tokens: u64,
    /// Weights of the bases ([`Mixing::weights`](crate::Mixing::weights)).
    pub mixing: Vec<f64>,
    /// The last step.
    pub last: Option<StepReport>,
    /// The last held-out losses.
    pub evals: Vec<EvalReport>,
    /// What the held-out figure did.
    pub watch: Watch,
}
