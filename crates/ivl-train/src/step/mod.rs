//! One optimizer step: gradients of its passes, and what is done with them.

pub(crate) mod clip;
pub(crate) mod forward;
pub(crate) mod learner;
pub(crate) mod optimizer;
pub(crate) mod pairs;
pub(crate) mod precision;
pub(crate) mod schedule;
pub(crate) mod step_sums;
pub(crate) mod trained_first;
pub(crate) mod workers;

pub use clip::clip_gradient_norm;
pub use forward::BaseTarget;
pub use learner::{LearnerSettings, MicroBatchGradients, MicroBatchLosses, ValueLearner};
pub use optimizer::optimizer;
pub use step_sums::StepSums;
pub use workers::{LoadBases, StepGradients, Worker, Workers};
