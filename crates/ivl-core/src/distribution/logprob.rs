//! Logits as log-probabilities.

use ivl_kernels::{SoftmaxStats, argmax};

/// `log softmax(logits)[token]`.
pub(crate) fn logprob(logits: &[f32], token: u32) -> f32 {
    (f64::from(logits[token as usize]) - log_normalizer(logits)) as f32
}

/// `log sum_i exp(logits[i])`: what is subtracted from a logit to get a log-probability.
pub fn log_normalizer(logits: &[f32]) -> f64 {
    SoftmaxStats::new(logits).log_normalizer()
}

/// The largest logit, the lowest id among equals.
pub(crate) fn most_probable(logits: &[f32]) -> u32 {
    argmax(logits).unwrap_or(0) as u32
}
