//! The least cost of a step, from the weights of a model.

use super::ceiling::Ceiling;
use super::shape::BenchModel;
use crate::error::Result;

/// Weights of a model, as its ceilings count them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    /// Bytes read for a step of one row.
    pub(super) bytes: f64,
    /// Bytes of these that are matrices of experts.
    experts: f64,
    /// Weights that the hidden states of a token are multiplied with, and those of the head.
    weights: [f64; 2],
}

impl Costs {
    pub(super) fn of(model: &BenchModel) -> Self {
        let (bytes, [body, head]) = (model.net.bytes_of_step(), model.net.multiplied_weights());
        let experts = (model.net.experts_of_token() * model.net.bytes_of_expert()) as f64;
        Self { bytes: bytes as f64, experts, weights: [body as f64, head as f64] }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let weights = [self.weights[0] + other.weights[0], self.weights[1] + other.weights[1]];
        Self { bytes: self.bytes + other.bytes, experts: self.experts + other.experts, weights }
    }

    /// Seconds for a step that reads every weight once, and `experts` bytes of the matrices of experts.
    pub(super) fn read(self, experts: f64, ceiling: &Ceiling) -> Result<f64> {
        Ok((self.bytes - self.experts + experts) / ceiling.read()?)
    }

    /// Seconds to multiply `tokens` with the body and `heads` of them with the head.
    pub(super) fn multiply(self, tokens: usize, heads: usize, ceiling: &Ceiling) -> Result<f64> {
        let weights = tokens as f64 * self.weights[0] + heads as f64 * self.weights[1];
        Ok(2.0 * weights / ceiling.multiply()?)
    }
}
