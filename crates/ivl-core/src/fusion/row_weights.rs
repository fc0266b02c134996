//! Rows that are read together, each with weights of its own.

use burn::tensor::kind::Basic;
use burn::tensor::{Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CacheBytes, CausalLm};
use crate::error::Error;
use crate::fusion::{CumulativeLogits, GatedProjection};
use crate::tokens::index_tensor;

/// Where the logits of rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsAt {
    /// At every new position.
    All,
    /// At the last position.
    Last,
}

/// The weight of each value in each row of a [`DecodeBatch`](crate::fusion::DecodeBatch), and where logits are wanted.
#[derive(Debug, Clone, Copy)]
pub struct RowWeights<'a> {
    weights: &'a [Vec<f64>],
    at: LogitsAt,
}

impl<'a> RowWeights<'a> {
    /// `weights[r][i]` is the weight of value `i` in row `r`.
    pub fn new(weights: &'a [Vec<f64>], at: LogitsAt) -> Self {
        Self { weights, at }
    }

    /// The same weights, with logits at every new position.
    #[must_use]
    pub(crate) fn at_all(self) -> Self {
        Self { at: LogitsAt::All, ..self }
    }

    /// Where logits are wanted.
    pub fn at(self) -> LogitsAt {
        self.at
    }

    /// Reads tokens; logits at the positions wanted.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, positions, vocab]`
    pub(crate) fn logits(
        self,
        lm: &dyn CausalLm,
        tokens: Tensor<2, Int>,
        cache: &mut Cache,
    ) -> Result<Tensor<3>, Error> {
        match self.at {
            LogitsAt::Last => Ok(lm.next_logits(tokens, cache)?.unsqueeze_dim(1)),
            LogitsAt::All => lm.forward(tokens, cache),
        }
    }

    /// Of logits at every new position, those wanted.
    pub(crate) fn wanted(self, logits: Tensor<3>) -> Tensor<3> {
        let [rows, seq, vocab] = logits.dims();
        match self.at {
            LogitsAt::Last => logits.slice([0..rows, seq - 1..seq, 0..vocab]),
            LogitsAt::All => logits,
        }
    }

    /// The rows that take a value.
    pub(crate) fn readers(self, value: usize) -> Readers {
        let takes = |&row: &usize| self.weights[row][value] != 0.0;
        Readers { places: (0..self.weights.len()).filter(takes).collect(), of: self.weights.len() }
    }

    /// The weights of a value, for the rows that take it.
    pub(crate) fn weights_of(self, value: usize) -> Vec<f64> {
        self.weights.iter().map(|weights| weights[value]).filter(|weight| *weight != 0.0).collect()
    }

    /// The last logits of `below` with a value's term in the rows that take it, rows of one weight together.
    ///
    /// # Shapes
    /// - `below` and output: `[rows, positions, vocab]`
    /// - `logits`: `[readers, positions, vocab]`, for the rows that take the value, in order
    pub(crate) fn add(
        self,
        value: usize,
        projection: &GatedProjection,
        below: &CumulativeLogits,
        logits: Tensor<3>,
    ) -> Tensor<3> {
        let (base, fused) = (below.base(), below.last());
        let groups = self.groups(value);
        if let [(weight, _)] = groups.as_slice() {
            return projection.add(&base, fused, logits, *weight);
        }
        let readers = self.readers(value);
        let mut pieces = Vec::with_capacity(groups.len());
        for (weight, rows) in &groups {
            let own = pick(&fused, rows);
            pieces.push(if *weight == 0.0 {
                own
            } else {
                let places: Vec<usize> = rows.iter().filter_map(|&row| readers.place(row)).collect();
                projection.add(&pick(&base, rows), own, pick(&logits, &places), *weight)
            });
        }
        let order: Vec<usize> = groups.into_iter().flat_map(|(_, rows)| rows).collect();
        let mut back = vec![0; order.len()];
        order.into_iter().enumerate().for_each(|(place, row)| back[row] = place);
        pick(&Tensor::cat(pieces, 0), &back)
    }

    /// The rows of each weight that a value has.
    fn groups(self, value: usize) -> Vec<(f64, Vec<usize>)> {
        let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
        for (row, weights) in self.weights.iter().enumerate() {
            let weight = weights[value];
            match groups.iter_mut().find(|(of, _)| *of == weight) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((weight, vec![row])),
            }
        }
        groups
    }
}

/// The rows that take a value, among all.
#[derive(Debug)]
pub(crate) struct Readers {
    places: Vec<usize>,
    of: usize,
}

impl Readers {
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The index of a row among them.
    pub(crate) fn place(&self, row: usize) -> Option<usize> {
        self.places.binary_search(&row).ok()
    }

    /// Their part of a tensor of all rows.
    pub(crate) fn of<const D: usize, K: Basic>(&self, all: &Tensor<D, K>) -> Tensor<D, K> {
        if self.places.len() == self.of { all.clone() } else { pick(all, &self.places) }
    }
}

fn pick<const D: usize, K: Basic>(from: &Tensor<D, K>, rows: &[usize]) -> Tensor<D, K> {
    from.clone().select(0, index_tensor(rows, &from.device()))
}

/// Rows of `all` with those at `places` replaced, in order.
pub(crate) fn put_back<const D: usize>(all: &Tensor<D>, replaced: Tensor<D>, places: &[usize]) -> Tensor<D> {
    let rows = all.dims()[0];
    if places.len() == rows {
        return replaced;
    }
    let mut order: Vec<usize> = (0..rows).collect();
    places.iter().enumerate().for_each(|(at, &place)| order[place] = rows + at);
    pick(&Tensor::cat(vec![all.clone(), replaced], 0), &order)
}

/// Bytes of cache that a row takes: the base's, and those of each value that the row takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowBytes {
    base: CacheBytes,
    values: Vec<CacheBytes>,
}

impl RowBytes {
    /// The bytes of a base.
    pub fn new(base: CacheBytes) -> Self {
        Self { base, values: Vec::new() }
    }

    /// Adds the bytes of one more value.
    #[must_use]
    pub fn with_value(mut self, bytes: CacheBytes) -> Self {
        self.values.push(bytes);
        self
    }

    /// Bytes of a row under these weights.
    pub fn of(&self, weights: &[f64]) -> CacheBytes {
        let taken = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        self.base + taken.map(|(bytes, _)| *bytes).sum::<CacheBytes>()
    }
}
