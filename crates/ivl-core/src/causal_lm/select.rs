//! Logits at selected positions, computed on demand.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::tokens::index_tensor;

/// Which of the new positions of a batch `[batch, seq]` are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions<'a> {
    /// Every position, row by row.
    All,
    /// The last position of each row.
    Last,
    /// These indices into `batch * seq`, row-major.
    Indices(&'a [usize]),
}

impl Positions<'_> {
    /// The vectors (hidden states or logits) at these positions.
    ///
    /// # Shapes
    /// - `all`: `[batch, seq, width]`
    /// - output: `[n, width]`
    pub fn select(self, all: Tensor<3>) -> Tensor<2> {
        let [batch, seq, width] = all.dims();
        match self {
            Self::All => all.reshape([batch * seq, width]),
            Self::Last => all.slice([0..batch, seq - 1..seq]).reshape([batch, width]),
            Self::Indices(indices) => {
                let indices = index_tensor(indices, &all.device());
                all.reshape([batch * seq, width]).select(0, indices)
            }
        }
    }

    /// The wanted indices into `batch * seq`.
    pub fn indices(self, [batch, seq]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::All => (0..batch * seq).collect(),
            Self::Last => (1..=batch).map(|row| row * seq - 1).collect(),
            Self::Indices(indices) => indices.to_vec(),
        }
    }
}

/// Logits at `n` positions that were read. A model with a large vocabulary holds hidden states and its head, and computes
/// the logits of the requested rows.
pub struct SelectedLogits<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    Logits(Tensor<2>),
    Hidden { hidden: Tensor<2>, head: Head<'a> },
    Computed { len: usize, rows: Rows<'a> },
}

/// From hidden states `[n, hidden]` to logits `[n, vocab]`.
type Head<'a> = Box<dyn Fn(Tensor<2>) -> Tensor<2> + 'a>;

/// From a range of positions to their logits.
type Rows<'a> = Box<dyn Fn(Range<usize>) -> Tensor<2> + 'a>;

impl<'a> SelectedLogits<'a> {
    /// Logits that are there already. Shape `[n, vocab]`.
    pub fn new(logits: Tensor<2>) -> Self {
        Self { source: Source::Logits(logits) }
    }

    /// Hidden states `[n, hidden]`, and the head that turns some of them into logits.
    pub fn with_head(hidden: Tensor<2>, head: impl Fn(Tensor<2>) -> Tensor<2> + 'a) -> Self {
        Self { source: Source::Hidden { hidden, head: Box::new(head) } }
    }

    /// Logits of `len` positions that `rows` computes for a range of them.
    pub fn computed(len: usize, rows: impl Fn(Range<usize>) -> Tensor<2> + 'a) -> Self {
        Self { source: Source::Computed { len, rows: Box::new(rows) } }
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Logits(rows) | Source::Hidden { hidden: rows, .. } => rows.dims()[0],
            Source::Computed { len, .. } => *len,
        }
    }

    /// Whether no position was selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The logits of a range of the positions. Shape `[rows, vocab]`.
    pub fn rows(&self, rows: Range<usize>) -> Tensor<2> {
        match &self.source {
            Source::Logits(logits) => some(logits, rows),
            Source::Hidden { hidden, head } => head(some(hidden, rows)),
            Source::Computed { rows: compute, .. } => compute(rows),
        }
    }

    /// The logits of all positions. Shape `[n, vocab]`.
    pub fn all(self) -> Tensor<2> {
        match self.source {
            Source::Logits(logits) => logits,
            Source::Hidden { hidden, head } => head(hidden),
            Source::Computed { len, rows } => rows(0..len),
        }
    }
}

fn some(all: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
    if rows == (0..all.dims()[0]) { all.clone() } else { all.clone().slice([rows]) }
}
