//! A batch whose rows come and go: what generation and a server step through.

use burn::tensor::{Int, Tensor};

use crate::cache::Cache;
use crate::error::Error;
use crate::fusion::{CumulativeLogits, LogitsAt, RowWeighted, RowWeights};

/// Rows in flight: the weight of each value in every row, and what the base and the values have read of them.
///
/// A value reads the rows that take it and no others, so a row of weight 0 costs only the base. What was read under one
/// weight can continue under another, unless a value reads predictions that the weight changes
/// ([`RowWeighted::num_cascade_values`]).
#[derive(Debug, Clone)]
pub struct DecodeBatch {
    weights: Vec<Vec<f64>>,
    cache: Cache,
    num_values: usize,
    num_cascade_values: usize,
}

impl DecodeBatch {
    /// An empty batch, which rows can [`join`](Self::join).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn empty(lm: &dyn RowWeighted) -> Result<Self, Error> {
        Self::new(lm, &[], Vec::new())
    }

    /// Rows that have read nothing yet. Row `r` will start with `padding[r]` tokens to be ignored and takes `weights[r][i]`
    /// of value `i`.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if the model's caches do not have a part for each of its values.
    pub fn new(lm: &dyn RowWeighted, padding: &[usize], weights: Vec<Vec<f64>>) -> Result<Self, Error> {
        let (mut cache, num_values) = (lm.new_cache(padding), lm.num_values());
        for (value, cache) in cache.base_and_all_values(num_values)?.1.into_iter().enumerate() {
            cache.select(readers(&weights, value).places());
        }
        Ok(Self { weights, cache, num_values, num_cascade_values: lm.num_cascade_values() })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    /// Weights of a row, one for each value of the model.
    pub fn weights(&self, row: usize) -> &[f64] {
        &self.weights[row]
    }

    /// Positions read, padding included.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all caches.
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Announces that the rows begin with a prompt of `len` tokens, padding included: see [`Cache::set_expected_len`] and
    /// [`Cache::set_prompt_len`].
    pub fn set_prompt_len(&mut self, len: usize) {
        self.cache.set_expected_len(len);
        self.cache.set_prompt_len(len);
    }

    /// Reads tokens of every row and returns the logits at every new position.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, seq, vocab]`
    ///
    /// # Errors
    /// [`Error::ForeignCache`] if another model made the batch.
    pub fn forward(
        &mut self,
        lm: &dyn RowWeighted,
        tokens: Tensor<2, Int>,
    ) -> Result<CumulativeLogits, Error> {
        lm.forward_rows(tokens, RowWeights::new(&self.weights, LogitsAt::All), &mut self.cache)
    }

    /// Like [`forward`](Self::forward), for the logits at the last position.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, 1, vocab]`
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn next_logits(
        &mut self,
        lm: &dyn RowWeighted,
        tokens: Tensor<2, Int>,
    ) -> Result<CumulativeLogits, Error> {
        lm.forward_rows(tokens, RowWeights::new(&self.weights, LogitsAt::Last), &mut self.cache)
    }

    /// Weights and cache, for a part of the model that reads by itself.
    pub(crate) fn parts(&mut self, at: LogitsAt) -> (RowWeights<'_>, &mut Cache) {
        (RowWeights::new(&self.weights, at), &mut self.cache)
    }

    /// The weights of all rows.
    pub(crate) fn row_weights(&self) -> RowWeights<'_> {
        RowWeights::new(&self.weights, LogitsAt::All)
    }

    /// Adds rows after those here; their texts may have another length.
    ///
    /// # Errors
    /// [`Error::ForeignCache`] for a batch of another model.
    pub fn join(&mut self, other: Self) -> Result<(), Error> {
        self.cache.join(other.cache)?;
        self.weights.extend(other.weights);
        Ok(())
    }

    /// Keeps the given rows, in the given order; a row may be repeated.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn keep(&mut self, rows: &[usize]) {
        let (base, values) = parts_of(&mut self.cache, self.num_values);
        for (value, cache) in values.into_iter().enumerate() {
            let readers = readers(&self.weights, value);
            let kept: Vec<usize> = rows.iter().filter_map(|&row| readers.place(row)).collect();
            cache.keep(&kept);
        }
        base.keep(rows);
        self.weights = rows.iter().map(|&row| self.weights[row].clone()).collect();
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    /// The longest beginning of at most `len` positions that can be gone on from without reading any of it again; see
    /// [`Cache::resumable`].
    pub fn resumable(&self, len: usize) -> usize {
        self.cache.resumable(len)
    }

    /// Whether [`beginning`](Self::beginning) can continue under these weights: there is a single row, every value with a
    /// weight has read it, and what was read depends neither on the weights nor on the length that the text will have.
    pub fn covers(&self, weights: &[f64]) -> bool {
        let [had] = self.weights.as_slice() else { return false };
        let read = had.iter().zip(weights).all(|(&had, &wanted)| wanted == 0.0 || had != 0.0);
        let same = had[..self.num_cascade_values] == weights[..self.num_cascade_values];
        read && same && !self.cache.depends_on_length()
    }

    /// The first `len` positions of a single row, to continue under other weights. `None` unless it
    /// [`covers`](Self::covers) them.
    pub fn beginning(&self, len: usize, weights: &[f64]) -> Option<Self> {
        if !self.covers(weights) {
            return None;
        }
        let mut beginning = self.clone();
        for (value, cache) in parts_of(&mut beginning.cache, self.num_values).1.into_iter().enumerate() {
            if weights[value] == 0.0 && self.weights[0][value] != 0.0 {
                cache.keep(&[]);
            }
        }
        beginning.weights = vec![weights.to_vec()];
        beginning.truncate(len);
        Some(beginning)
    }
}

fn readers(weights: &[Vec<f64>], value: usize) -> super::row_weights::Readers {
    RowWeights::new(weights, LogitsAt::All).readers(value)
}

fn parts_of(cache: &mut Cache, values: usize) -> (&mut Cache, Vec<&mut Cache>) {
    cache
        .base_and_all_values(values)
        .expect("`new` found a part for each value, and no method changes the structure")
}
