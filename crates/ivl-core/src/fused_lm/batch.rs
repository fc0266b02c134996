//! A batch whose rows come and go, each with weights of its own: what a server steps through.

use burn::tensor::{Int, Tensor};

use super::{FusedLm, fuse_base};
use crate::{Cache, CausalLm, Projection, index_tensor};

/// Rows in flight: how much of each value every row takes, and what the base and the values have read of them.
///
/// A value reads the rows that take it and no others, so a row of weight 0 costs the base alone. The weights of a row
/// never change what its caches hold: text read under one weight may go on under another.
#[derive(Debug, Clone)]
pub struct Batch {
    weights: Vec<Vec<f64>>,
    base: Cache,
    values: Vec<Cache>,
}

/// Logits of the rows of a [`Batch`], in f32.
#[derive(Debug, Clone)]
pub struct RowLogits {
    /// The base's own. Shape `[rows, positions, vocab]`.
    pub base: Tensor<3>,
    /// Base and values, each row with its weights. The same shape.
    pub fused: Tensor<3>,
}

impl Batch {
    /// An empty batch, which rows can [`join`](Self::join).
    pub fn empty(lm: &FusedLm) -> Self {
        Self::new(lm, &[], Vec::new())
    }

    /// Rows that have read nothing yet. Row `r` will start with `padding[r]` tokens to be ignored and takes
    /// `weights[r][i]` of value `i`.
    pub fn new(lm: &FusedLm, padding: &[usize], weights: Vec<Vec<f64>>) -> Self {
        let values = lm.parts.iter().enumerate().map(|(value, part)| {
            let read: Vec<usize> = readers(&weights, value).map(|row| padding[row]).collect();
            part.lm.new_cache(&read)
        });
        Self { values: values.collect(), base: lm.base.new_cache(padding), weights }
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
        self.base.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all caches.
    pub fn bytes(&self) -> usize {
        self.caches().map(Cache::bytes).sum()
    }

    /// See [`Cache::expect`].
    pub fn expect(&mut self, len: usize) {
        self.caches_mut().for_each(|cache| cache.expect(len));
    }

    /// Adds rows behind those here; their texts may have another length.
    pub fn join(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.base.join(other.base);
        self.values.iter_mut().zip(other.values).for_each(|(value, other)| value.join(other));
    }

    /// Keeps the given rows, in the given order; a row may be repeated.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn keep(&mut self, rows: &[usize]) {
        for (value, cache) in self.values.iter_mut().enumerate() {
            let read: Vec<usize> = readers(&self.weights, value).collect();
            let kept: Vec<usize> = rows.iter().filter_map(|row| read.binary_search(row).ok()).collect();
            cache.keep(&kept);
        }
        self.base.keep(rows);
        self.weights = rows.iter().map(|&row| self.weights[row].clone()).collect();
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.caches_mut().for_each(|cache| cache.truncate(len));
    }

    /// Whether [`beginning`](Self::beginning) can go on under these weights: there is a single row, the values that the
    /// weights ask for have read it, and what was read does not depend on how long the text becomes.
    pub fn covers(&self, weights: &[f64]) -> bool {
        let [had] = self.weights.as_slice() else { return false };
        let read = had.iter().zip(weights).all(|(&had, &wanted)| wanted == 0.0 || had != 0.0);
        read && !self.caches().any(Cache::depends_on_length)
    }

    /// The first `len` positions of a single row, to go on under other weights. `None` unless it
    /// [`covers`](Self::covers) them.
    pub fn beginning(&self, len: usize, weights: &[f64]) -> Option<Self> {
        if !self.covers(weights) {
            return None;
        }
        let mut beginning = self.clone();
        for (value, cache) in beginning.values.iter_mut().enumerate() {
            if weights[value] == 0.0 && self.weights[0][value] != 0.0 {
                cache.keep(&[]);
            }
        }
        beginning.weights = vec![weights.to_vec()];
        beginning.truncate(len);
        Some(beginning)
    }

    fn caches(&self) -> impl Iterator<Item = &Cache> {
        std::iter::once(&self.base).chain(&self.values)
    }

    fn caches_mut(&mut self) -> impl Iterator<Item = &mut Cache> {
        std::iter::once(&mut self.base).chain(&mut self.values)
    }
}

/// Rows that take a value.
fn readers(weights: &[Vec<f64>], value: usize) -> impl Iterator<Item = usize> {
    weights.iter().enumerate().filter(move |(_, weights)| weights[value] != 0.0).map(|(row, _)| row)
}

impl FusedLm {
    /// The weight of each of its own values.
    pub fn alphas(&self) -> Vec<f64> {
        self.parts.iter().map(|part| part.alpha).collect()
    }

    /// Reads tokens of every row of a batch and returns the logits at every new position.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, seq, vocab]`
    pub fn forward_rows(&self, tokens: Tensor<2, Int>, batch: &mut Batch) -> RowLogits {
        self.read_rows(tokens, batch, |lm, tokens, cache| lm.forward(tokens, cache))
    }

    /// Like [`forward_rows`](Self::forward_rows), for the last position alone.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, 1, vocab]`
    pub fn next_logits_rows(&self, tokens: Tensor<2, Int>, batch: &mut Batch) -> RowLogits {
        self.read_rows(tokens, batch, |lm, tokens, cache| lm.next_logits(tokens, cache).unsqueeze_dim(1))
    }

    /// The base's part of [`forward_rows`](Self::forward_rows): it reads ahead of the values, or after them.
    pub(crate) fn base_rows(&self, tokens: Tensor<2, Int>, batch: &mut Batch) -> Tensor<3> {
        fuse_base(self.base.forward(tokens, &mut batch.base))
    }

    /// The values' part: for each value, what it says about the base's tokens in the rows that take it, not yet weighted.
    pub(crate) fn value_rows(&self, tokens: &Tensor<2, Int>, batch: &mut Batch) -> ValueRows {
        let caches = batch.values.iter_mut();
        let forward = |lm: &dyn CausalLm, tokens, cache: &mut Cache| lm.forward(tokens, cache);
        let read = |(value, cache)| self.read_value(value, tokens, &batch.weights, cache, forward);
        caches.enumerate().map(read).collect()
    }

    /// Base logits and what the values say, each row with its weights.
    pub(crate) fn weigh(&self, base: Tensor<3>, values: &ValueRows, batch: &Batch) -> Tensor<3> {
        let values = values.iter().cloned().enumerate();
        values.fold(base, |fused, (value, said)| self.add_value(value, fused, said, &batch.weights))
    }

    fn read_rows(
        &self,
        tokens: Tensor<2, Int>,
        batch: &mut Batch,
        forward: impl Fn(&dyn CausalLm, Tensor<2, Int>, &mut Cache) -> Tensor<3>,
    ) -> RowLogits {
        let base = fuse_base(forward(&*self.base, tokens.clone(), &mut batch.base));
        let mut fused = base.clone();
        for (value, cache) in batch.values.iter_mut().enumerate() {
            let said = self.read_value(value, &tokens, &batch.weights, cache, &forward);
            fused = self.add_value(value, fused, said, &batch.weights);
        }
        RowLogits { base, fused }
    }

    fn read_value(
        &self,
        value: usize,
        tokens: &Tensor<2, Int>,
        weights: &[Vec<f64>],
        cache: &mut Cache,
        forward: impl Fn(&dyn CausalLm, Tensor<2, Int>, &mut Cache) -> Tensor<3>,
    ) -> Option<Tensor<3>> {
        let part = &self.parts[value];
        let rows: Vec<usize> = readers(weights, value).collect();
        if rows.is_empty() {
            return None;
        }
        let read = if rows.len() == weights.len() {
            tokens.clone()
        } else {
            tokens.clone().select(0, index_tensor(&rows, &tokens.device()))
        };
        Some(part.projection.logits(forward(&*part.lm, part.projection.tokens(read), cache)))
    }

    fn add_value(
        &self,
        value: usize,
        fused: Tensor<3>,
        said: Option<Tensor<3>>,
        weights: &[Vec<f64>],
    ) -> Tensor<3> {
        let Some(said) = said else { return fused };
        let weights: Vec<f64> = weights.iter().map(|weights| weights[value]).collect();
        add_weighted(&self.parts[value].projection, fused, said, &weights)
    }
}

/// What each value says about the base's tokens, `[readers, seq, vocab]`; nothing from one that no row takes.
pub(crate) type ValueRows = Vec<Option<Tensor<3>>>;

/// Adds a value's logits to the rows that take it, rows of one weight together.
///
/// # Shapes
/// - `fused` and output: `[rows, seq, vocab]`
/// - `value`: `[readers, seq, vocab]`, for the rows whose weight is not 0, in order
fn add_weighted(projection: &Projection, fused: Tensor<3>, value: Tensor<3>, weights: &[f64]) -> Tensor<3> {
    let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
    for (row, &weight) in weights.iter().enumerate() {
        match groups.iter_mut().find(|(of, _)| *of == weight) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((weight, vec![row])),
        }
    }
    if let [(weight, _)] = groups.as_slice() {
        return projection.add(fused, value, *weight);
    }
    let device = fused.device();
    let pick = |from: &Tensor<3>, rows: &[usize]| from.clone().select(0, index_tensor(rows, &device));
    let mut pieces = Vec::with_capacity(groups.len());
    for (weight, rows) in &groups {
        let own = pick(&fused, rows);
        pieces.push(if *weight == 0.0 {
            own
        } else {
            // Rows are numbered among the readers by how many read before them.
            let place = |&row: &usize| weights[..row].iter().filter(|weight| **weight != 0.0).count();
            let places: Vec<usize> = rows.iter().map(place).collect();
            projection.add(own, pick(&value, &places), *weight)
        });
    }
    let order: Vec<usize> = groups.into_iter().flat_map(|(_, rows)| rows).collect();
    let mut back = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, row)| back[row] = place);
    pick(&Tensor::cat(pieces, 0), &back)
}
