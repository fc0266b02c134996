//! A batch whose rows come and go, each with weights of its own: what a server steps through.

use burn::tensor::{Int, Tensor};

use super::FusedLm;
use crate::cache::Cache;
use crate::causal_lm::CausalLm;
use crate::fusion::RowWeights;

/// RowWeights in flight: how much of each value every row takes, and what the base and the values have read of them.
///
/// A value reads the rows that take it and no others, so a row of weight 0 costs the base alone. What is read under one
/// weight may go on under another, unless a value reads predictions that the weight changes
/// ([`CausalLm::weights_read`]).
#[derive(Debug, Clone)]
pub struct DecodeBatch {
    weights: Vec<Vec<f64>>,
    cache: Cache,
    values: usize,
    weights_read: usize,
}

/// Logits of the rows of a [`DecodeBatch`], in f32.
#[derive(Debug, Clone)]
pub struct CumulativeLogits {
    /// The base alone, then with the first value, with the first two, and so on, each row with its weights: as
    /// [`LogitComponents::stages`](crate::fusion::LogitComponents::stages) has them. A value that a row does not take changes nothing there. Shape
    /// `[rows, positions, vocab]` each.
    pub stages: Vec<Tensor<3>>,
}

impl CumulativeLogits {
    /// The base's own. Shape `[rows, positions, vocab]`.
    ///
    /// # Panics
    /// If there is no stage.
    pub fn base(&self) -> Tensor<3> {
        self.stages[0].clone()
    }

    /// Base and values. The same shape.
    ///
    /// # Panics
    /// If there is no stage.
    pub fn fused(&self) -> Tensor<3> {
        topmost(&self.stages)
    }
}

/// The last of some stages.
pub(crate) fn topmost(stages: &[Tensor<3>]) -> Tensor<3> {
    stages[stages.len() - 1].clone()
}

impl DecodeBatch {
    /// An empty batch, which rows can [`join`](Self::join).
    pub fn empty(lm: &FusedLm) -> Self {
        Self::new(lm, &[], Vec::new())
    }

    /// RowWeights that have read nothing yet. Row `r` will start with `padding[r]` tokens to be ignored and takes
    /// `weights[r][i]` of value `i`.
    ///
    /// # Panics
    /// If the model has a gate, whose values lag differently in different rows.
    pub fn new(lm: &FusedLm, padding: &[usize], weights: Vec<Vec<f64>>) -> Self {
        let (mut cache, values) = (lm.new_cache(padding), lm.values());
        for (value, cache) in cache.of_values(values).into_iter().enumerate() {
            cache.select(RowWeights::new(&weights).readers(value).places());
        }
        Self { weights, cache, values, weights_read: lm.weights_read() }
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

    /// See [`Cache::expect`].
    pub fn expect(&mut self, len: usize) {
        self.cache.expect(len);
    }

    /// Adds rows behind those here; their texts may have another length.
    pub fn join(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.cache.join(other.cache);
    }

    /// Keeps the given rows, in the given order; a row may be repeated.
    ///
    /// # Panics
    /// If a row is outside the batch.
    pub fn keep(&mut self, rows: &[usize]) {
        for (value, cache) in self.cache.of_values(self.values).into_iter().enumerate() {
            let readers = RowWeights::new(&self.weights).readers(value);
            let kept: Vec<usize> = rows.iter().filter_map(|&row| readers.place(row)).collect();
            cache.keep(&kept);
        }
        self.cache.of_base(self.values).keep(rows);
        self.weights = rows.iter().map(|&row| self.weights[row].clone()).collect();
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    /// Whether [`beginning`](Self::beginning) can go on under these weights: there is a single row, the values that the
    /// weights ask for have read it, and what was read depends neither on the weights nor on how long the text becomes.
    pub fn covers(&self, weights: &[f64]) -> bool {
        let [had] = self.weights.as_slice() else { return false };
        let read = had.iter().zip(weights).all(|(&had, &wanted)| wanted == 0.0 || had != 0.0);
        let same = had[..self.weights_read] == weights[..self.weights_read];
        read && same && !self.cache.depends_on_length()
    }

    /// The first `len` positions of a single row, to go on under other weights. `None` unless it
    /// [`covers`](Self::covers) them.
    pub fn beginning(&self, len: usize, weights: &[f64]) -> Option<Self> {
        if !self.covers(weights) {
            return None;
        }
        let mut beginning = self.clone();
        for (value, cache) in beginning.cache.of_values(self.values).into_iter().enumerate() {
            if weights[value] == 0.0 && self.weights[0][value] != 0.0 {
                cache.keep(&[]);
            }
        }
        beginning.weights = vec![weights.to_vec()];
        beginning.truncate(len);
        Some(beginning)
    }
}

impl FusedLm {
    /// Reads tokens of every row of a batch and returns the logits at every new position.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, seq, vocab]`
    pub fn forward_rows(&self, tokens: Tensor<2, Int>, batch: &mut DecodeBatch) -> CumulativeLogits {
        CumulativeLogits {
            stages: self.row_stages(tokens, RowWeights::new(&batch.weights), &mut batch.cache),
        }
    }

    /// Like [`forward_rows`](Self::forward_rows), for the last position alone.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: `[rows, 1, vocab]`
    pub fn next_logits_rows(&self, tokens: Tensor<2, Int>, batch: &mut DecodeBatch) -> CumulativeLogits {
        CumulativeLogits {
            stages: self.row_stages(tokens, RowWeights::new(&batch.weights).at_last(), &mut batch.cache),
        }
    }

    /// The base's part of [`forward_rows`](Self::forward_rows), with the values that it has itself: it reads ahead of the
    /// others, or after them.
    pub(crate) fn base_rows(&self, tokens: Tensor<2, Int>, batch: &mut DecodeBatch) -> Vec<Tensor<3>> {
        let (cache, _) = self.split(&mut batch.cache);
        self.base.row_stages(tokens, RowWeights::new(&batch.weights), cache)
    }

    /// The values' part: for each value, what it says about the base's tokens in the rows that take it, not yet weighted.
    pub(crate) fn value_rows(&self, tokens: &Tensor<2, Int>, batch: &mut DecodeBatch) -> ValueRows {
        let (_, caches) = self.split(&mut batch.cache);
        let rows = RowWeights::new(&batch.weights);
        let read = |(part, cache)| self.read_part(part, tokens, rows, cache);
        caches.iter_mut().enumerate().map(read).collect()
    }

    /// The stages from base logits on, each row with its weights: what [`value_rows`](Self::value_rows) says is added.
    pub(crate) fn weigh(&self, base: Tensor<3>, values: &ValueRows, batch: &DecodeBatch) -> Vec<Tensor<3>> {
        let mut stages = vec![base];
        for (part, said) in values.iter().enumerate() {
            stages.push(self.add_part(part, topmost(&stages), said.clone(), RowWeights::new(&batch.weights)));
        }
        stages
    }

    /// The stages of its base, then with its own values one after the other.
    pub(super) fn stages_of_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Vec<Tensor<3>> {
        let (base_cache, value_caches) = self.split(cache);
        let mut stages = self.base.row_stages(tokens.clone(), rows, base_cache);
        for (part, cache) in value_caches.iter_mut().enumerate() {
            let said = self.read_part(part, &tokens, rows, cache);
            stages.push(self.add_part(part, topmost(&stages), said, rows));
        }
        stages
    }

    fn read_part(
        &self,
        part: usize,
        tokens: &Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Option<Tensor<3>> {
        let readers = rows.readers(self.base.values() + part);
        if readers.is_empty() {
            return None;
        }
        let part = &self.parts[part];
        let tokens = part.projection.tokens(readers.of(tokens));
        Some(part.projection.logits(rows.logits(&*part.lm, tokens, cache)))
    }

    fn add_part(
        &self,
        part: usize,
        fused: Tensor<3>,
        said: Option<Tensor<3>>,
        rows: RowWeights<'_>,
    ) -> Tensor<3> {
        let Some(said) = said else { return fused };
        rows.add(self.base.values() + part, &self.parts[part].projection, fused, said)
    }
}

/// What each value says about the base's tokens, `[readers, seq, vocab]`; nothing from one that no row takes.
pub(crate) type ValueRows = Vec<Option<Tensor<3>>>;
