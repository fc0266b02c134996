//! The state of a run besides weights, optimizer and schedule.

use serde::{Deserialize, Serialize};

use crate::run::early_stopping::EarlyStopping;
use crate::run::report::{EvalReport, StepReport};

/// A part of every checkpoint, so that a resumed run knows what an uninterrupted one would. The order of the data is no
/// part of it: it is a function of the seed (`Plan`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Trained tokens seen, by all processes of the run.
    pub(crate) tokens: u64,
    /// Weights of the bases (`Mixing::weights`).
    pub(crate) mixing: Vec<f64>,
    /// The last step.
    pub(crate) last: Option<StepReport>,
    /// The last held-out losses.
    pub(crate) evals: Vec<EvalReport>,
    /// The best evaluation, and the patience that is left.
    #[serde(rename = "watch")]
    pub(crate) early_stopping: EarlyStopping,
}

impl RunState {
    /// Records a step, and the weights of the bases after it.
    pub(crate) fn record(&mut self, report: &StepReport, mixing: &[f64]) {
        self.tokens += report.tokens as u64;
        self.mixing = mixing.to_vec();
        self.last = Some(report.clone());
    }
}
