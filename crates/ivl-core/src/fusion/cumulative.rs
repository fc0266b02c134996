//! Logits of a base, then with one value after the other.

use burn::tensor::Tensor;

/// The logits of the base, then with the first value, with the first two, and so on, in f32. A value that a row does not
/// take changes nothing there. Shape `[rows, positions, vocab]` each.
#[derive(Debug, Clone)]
pub struct CumulativeLogits {
    base: Tensor<3>,
    with_values: Vec<Tensor<3>>,
}

impl CumulativeLogits {
    /// Logits of a base to which nothing is added. Shape `[rows, positions, vocab]`.
    pub fn new(base: Tensor<3>) -> Self {
        Self { base, with_values: Vec::new() }
    }

    /// Adds the logits with one more value. The same shape.
    pub fn push(&mut self, logits: Tensor<3>) {
        self.with_values.push(logits);
    }

    /// The base's own logits.
    pub fn base(&self) -> Tensor<3> {
        self.base.clone()
    }

    /// The logits of base and all values.
    pub fn last(&self) -> Tensor<3> {
        self.with_values.last().unwrap_or(&self.base).clone()
    }

    /// All logits, from those of the base to those with all values.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor<3>> {
        std::iter::once(&self.base).chain(&self.with_values)
    }

    /// All logits, from those of the base to those with all values; at least one tensor.
    pub fn into_vec(self) -> Vec<Tensor<3>> {
        std::iter::once(self.base).chain(self.with_values).collect()
    }

    /// The same part of all logits.
    #[must_use]
    pub fn map(self, mut part: impl FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        let base = part(self.base);
        Self { base, with_values: self.with_values.into_iter().map(part).collect() }
    }
}
