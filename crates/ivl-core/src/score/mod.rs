//! Texts under teacher forcing: log-likelihoods, and what values change at each token.

mod change;
mod explain;
mod log_likelihood;

pub use crate::distribution::Uncertainty;
pub use change::DistributionChange;
pub use explain::{TokenExplanation, ValueConflict, explain, explain_from};
pub use log_likelihood::{Score, score, target_logprobs};
