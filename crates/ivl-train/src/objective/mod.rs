//! The objective of a step.

pub(crate) mod criterion;
pub(crate) mod loss;
pub(crate) mod mixing;
pub(crate) mod perturbation;
pub(crate) mod preference;
pub(crate) mod teacher_target;

pub use criterion::Criterion;
pub use loss::{Loss, Targets, Terms, mapped_loss, value_loss};
pub use preference::{AnswerLogprobs, PairLoss, PairSums};
pub use teacher_target::{TeacherPredictions, TeacherTarget, TopTokens};
