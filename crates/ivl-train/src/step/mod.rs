//! One optimizer step: gradients of its passes, and what is done with them.

pub(crate) mod clip;
pub(crate) mod learner;
pub(crate) mod optimizer;
pub(crate) mod parallel;
pub(crate) mod precision;
pub(crate) mod schedule;
pub(crate) mod seen;

pub use clip::clip_gradient_norm;
pub use learner::{Against, LearnerSettings, PassOutput, ValueLearner};
pub use optimizer::optimizer;
pub use parallel::{Gathered, LoadBases, Worker, Workers};
pub use precision::Precision;
pub use schedule::Schedule;
pub use seen::Seen;
