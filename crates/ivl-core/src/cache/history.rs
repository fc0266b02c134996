//! What a model has read, so that it can read it again.

use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor};

use crate::tokens::index_tensor;

/// The inputs at every position of a cache: tokens, or vectors where a model reads something else.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Tokens, shape `[batch, seq]`.
    Tokens(Tensor<2, Int>),
    /// Embedded inputs, shape `[batch, seq, hidden]`.
    Embedded(Tensor<3>),
}

impl Inputs {
    /// Number of positions.
    pub fn len(&self) -> usize {
        match self {
            Self::Tokens(tokens) => tokens.dims()[1],
            Self::Embedded(embedded) => embedded.dims()[1],
        }
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those at some positions.
    #[must_use]
    pub fn at(&self, positions: Range<usize>) -> Self {
        match self {
            Self::Tokens(tokens) => Self::Tokens(tokens.clone().slice([0..tokens.dims()[0], positions])),
            Self::Embedded(embedded) => {
                let [batch, _, width] = embedded.dims();
                Self::Embedded(embedded.clone().slice([0..batch, positions, 0..width]))
            }
        }
    }

    /// These and then others.
    ///
    /// # Panics
    /// If one are tokens and the others are not: a model reads one kind.
    pub(super) fn then(self, next: Self) -> Self {
        self.cat(next, 1)
    }

    /// The rows of both.
    ///
    /// # Panics
    /// As [`then`](Self::then).
    pub(super) fn join(self, other: Self) -> Self {
        self.cat(other, 0)
    }

    fn cat(self, other: Self, dim: usize) -> Self {
        match (self, other) {
            (Self::Tokens(own), Self::Tokens(more)) => Self::Tokens(Tensor::cat(vec![own, more], dim)),
            (Self::Embedded(own), Self::Embedded(more)) => Self::Embedded(Tensor::cat(vec![own, more], dim)),
            _ => panic!("a model reads tokens or embedded inputs, not both"),
        }
    }

    pub(super) fn select(self, rows: &[usize]) -> Self {
        match self {
            Self::Tokens(tokens) => Self::Tokens(pick(tokens, rows)),
            Self::Embedded(embedded) => Self::Embedded(pick(embedded, rows)),
        }
    }

    /// With `missing` positions of padding before them.
    pub(super) fn pad_left(self, missing: usize) -> Self {
        match self {
            inputs if missing == 0 => inputs,
            Self::Tokens(tokens) => {
                let padding = Tensor::zeros([tokens.dims()[0], missing], &tokens.device());
                Self::Tokens(Tensor::cat(vec![padding, tokens], 1))
            }
            Self::Embedded(embedded) => {
                let [batch, _, width] = embedded.dims();
                let target = (&embedded.device(), embedded.dtype());
                let padding = Tensor::zeros([batch, missing, width], target);
                Self::Embedded(Tensor::cat(vec![padding, embedded], 1))
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Tokens(tokens) => tokens.shape().num_elements() * tokens.dtype().size(),
            Self::Embedded(embedded) => embedded.shape().num_elements() * embedded.dtype().size(),
        }
    }
}

fn pick<const D: usize, K: Basic>(tensor: Tensor<D, K>, rows: &[usize]) -> Tensor<D, K> {
    let index = index_tensor(rows, &tensor.device());
    tensor.select(0, index)
}
