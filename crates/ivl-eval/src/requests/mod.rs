//! Requests to a model: the likelihood of a continuation, or a greedy answer.

mod encoding;
mod generation;
mod likelihood;

pub(crate) use encoding::Encoding;
pub(crate) use generation::GreedyBatch;
pub use likelihood::Likelihood;
pub(crate) use likelihood::{LikelihoodRequest, likelihoods};
