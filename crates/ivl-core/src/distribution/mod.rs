//! Measures of one distribution over the next token.

mod logprob;
mod uncertainty;

pub use logprob::log_normalizer;
pub(crate) use logprob::{logprob, most_probable};
pub use uncertainty::Uncertainty;
