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
    fn then(self, next: Self) -> Self {
        self.cat(next, 1)
    }

    /// The rows of both.
    ///
    /// # Panics
    /// As [`then`](Self::then).
    fn join(self, other: Self) -> Self {
        self.cat(other, 0)
    }

    fn cat(self, other: Self, dim: usize) -> Self {
        match (self, other) {
            (Self::Tokens(own), Self::Tokens(more)) => Self::Tokens(Tensor::cat(vec![own, more], dim)),
            (Self::Embedded(own), Self::Embedded(more)) => Self::Embedded(Tensor::cat(vec![own, more], dim)),
            _ => panic!("a model reads tokens or embedded inputs, not both"),
        }
    }

    fn select(self, rows: &[usize]) -> Self {
        match self {
            Self::Tokens(tokens) => Self::Tokens(pick(tokens, rows)),
            Self::Embedded(embedded) => Self::Embedded(pick(embedded, rows)),
        }
    }

    /// With `missing` positions of padding before them.
    fn pad_left(self, missing: usize) -> Self {
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

    fn bytes(&self) -> usize {
        match self {
            Self::Tokens(tokens) => tokens.shape().num_elements() * tokens.dtype().size(),
            Self::Embedded(embedded) => embedded.shape().num_elements() * embedded.dtype().size(),
        }
    }
}

/// The inputs at every position of a text that grows, in parts of which each is longer than the next: a new part is joined with
/// those before it that are no longer than it. A position is so copied as often as the text doubles, not for every token.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    parts: Vec<Inputs>,
}

impl History {
    /// Adds inputs at the end.
    ///
    /// # Panics
    /// As [`Inputs::then`].
    pub(super) fn push(&mut self, mut inputs: Inputs) {
        while let Some(before) = self.parts.pop_if(|before| before.len() <= inputs.len()) {
            inputs = before.then(inputs);
        }
        self.parts.push(inputs);
    }

    /// Those at some positions.
    ///
    /// # Panics
    /// If there are none.
    pub(super) fn at(&self, positions: Range<usize>) -> Inputs {
        let mut first = 0;
        let mut found: Option<Inputs> = None;
        for part in &self.parts {
            let end = first + part.len();
            let here = positions.start.max(first)..positions.end.min(end);
            if !here.is_empty() {
                let inputs = part.at(here.start - first..here.end - first);
                found = Some(match found {
                    Some(before) => before.then(inputs),
                    None => inputs,
                });
            }
            first = end;
        }
        found.expect("a model that reads again remembers what it reads")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Inputs::len).sum()
    }

    /// Only those at the first `len` positions.
    pub(super) fn truncate(&mut self, len: usize) {
        match len {
            0 => self.parts.clear(),
            _ => self.change(|inputs| inputs.at(0..len)),
        }
    }

    /// Only some rows, without the first `dropped` positions.
    pub(super) fn select(&mut self, rows: &[usize], dropped: usize) {
        let len = self.len();
        self.change(|inputs| inputs.select(rows).at(dropped..len));
    }

    /// With `missing` positions of padding before them.
    pub(super) fn pad_left(&mut self, missing: usize) {
        self.change(|inputs| inputs.pad_left(missing));
    }

    /// The rows of both; none if one has none.
    pub(super) fn join(&mut self, mut other: Self) {
        match other.take() {
            Some(more) => self.change(|inputs| inputs.join(more)),
            None => self.parts.clear(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Inputs::bytes).sum()
    }

    /// Makes them one part, and changes it.
    fn change(&mut self, change: impl FnOnce(Inputs) -> Inputs) {
        self.parts = self.take().map(change).into_iter().collect();
    }

    /// All in one part.
    fn take(&mut self) -> Option<Inputs> {
        self.parts.drain(..).reduce(Inputs::then)
    }
}

fn pick<const D: usize, K: Basic>(tensor: Tensor<D, K>, rows: &[usize]) -> Tensor<D, K> {
    let index = index_tensor(rows, &tensor.device());
    tensor.select(0, index)
}
