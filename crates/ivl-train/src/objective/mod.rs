//! The objective of a step.

pub(crate) mod loss;
pub(crate) mod mixing;
pub(crate) mod perturbation;

pub use loss::{Loss, Terms, mapped_loss, value_loss};
