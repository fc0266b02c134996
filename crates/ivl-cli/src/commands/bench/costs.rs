//! What a step costs at least, from the weights of a model.

use anyhow::Result;

use super::floor::Floor;
use super::shape::Model;

/// Weights of a model, as its floors count them.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Bytes read for a step.
    pub bytes: f64,
    /// Weights that the hidden states of a token are multiplied with, and those of the head.
    weights: [f64; 2],
}

impl Costs {
    pub fn of(model: &Model) -> Self {
        let (bytes, [body, head]) = (model.net.bytes_of_step(), model.net.multiplied_weights());
        Self { bytes: bytes as f64, weights: [body as f64, head as f64] }
    }

    pub fn plus(self, other: Self) -> Self {
        let weights = [self.weights[0] + other.weights[0], self.weights[1] + other.weights[1]];
        Self { bytes: self.bytes + other.bytes, weights }
    }

    /// Seconds for a step that reads every weight once.
    pub fn read(self, floor: &Floor) -> Result<f64> {
        Ok(self.bytes / floor.read()?)
    }

    /// Seconds to multiply `tokens` with the body and `heads` of them with the head.
    pub fn multiply(self, tokens: usize, heads: usize, floor: &Floor) -> Result<f64> {
        let weights = tokens as f64 * self.weights[0] + heads as f64 * self.weights[1];
        Ok(2.0 * weights / floor.multiply()?)
    }
}
