//! The cascade connection: a value that reads what the base predicted.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, SelectedComponents};
use crate::error::Error;
use crate::fusion::fused_lm::{check_alpha, set_topmost_alpha, topmost};
use crate::fusion::{RowWeights, fuse};
use crate::row_chunks::row_chunks;
use crate::vocab::{Vocab, VocabMap, VocabProjection};

/// A network that reads a base's predictions, alone or together with the text.
///
/// The counterpart of [`CausalLm`] for the cascade connection of the paper; [`CascadeLm`] joins one to a base.
pub trait CascadeValue: Send {
    /// What each logit stands for.
    fn vocab(&self) -> &Vocab;

    /// The largest number of tokens it can read.
    fn max_positions(&self) -> usize;

    /// Where it computes.
    fn device(&self) -> Device;

    /// An empty cache; see [`CausalLm::new_cache`].
    fn new_cache(&self, padding: &[usize]) -> Cache;

    /// Reads tokens, and what the base predicts after each, and returns logits for the same next tokens.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - `predicted`: `[batch, seq, vocab]`, probabilities over this network's ids
    /// - output: `[batch, seq, vocab]`
    fn forward(&self, tokens: Tensor<2, Int>, predicted: Tensor<3>, cache: &mut Cache) -> Tensor<3>;

    /// See [`CausalLm::reads_at_once`].
    fn reads_at_once(&self, positions: &Range<usize>) -> bool;

    /// A name for error messages.
    fn name(&self) -> &str;
}

/// A base and a value that reads its predictions: `l = l_base + alpha * M(v(softmax(l_base)))`, in f32.
///
/// A [`CausalLm`] like any other: residual values may be added to it by a [`FusedLm`](crate::FusedLm). A second cascade
/// value on top reads the fused predictions.
pub struct CascadeLm {
    base: Box<dyn CausalLm>,
    value: Box<dyn CascadeValue>,
    alpha: f64,
    projection: VocabProjection,
}

impl CascadeLm {
    /// Attaches a value to a base of the same vocabulary.
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] for a value of another vocabulary: its input embeddings stand for the base's tokens, and no
    /// map leads there. [`Error::InvalidSetting`] for an alpha that is not finite.
    pub fn new(base: Box<dyn CausalLm>, value: Box<dyn CascadeValue>, alpha: f64) -> Result<Self, Error> {
        check_alpha(alpha)?;
        let projection = VocabMap::same_ids(base.vocab(), value.vocab())?.on(&value.device());
        Ok(Self { base, value, alpha, projection })
    }

    /// What the value says about what the base predicts, brought to the base's ids. Shapes `[batch, seq, vocab]`.
    fn read(&self, tokens: Tensor<2, Int>, base: Tensor<3>, cache: &mut Cache) -> Tensor<3> {
        let predicted = predictions(base, self.value.vocab().size());
        self.projection.logits(self.value.forward(self.projection.tokens(tokens), predicted, cache))
    }

    /// [`CausalLm::row_stages`] for tokens that are read at once.
    fn stages_of_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Vec<Tensor<3>> {
        let (base_cache, value_cache) = Self::split(cache);
        let own = self.base.values();
        let readers = rows.readers(own);
        if readers.is_empty() {
            let mut stages = self.base.row_stages(tokens, rows, base_cache);
            stages.push(topmost(&stages));
            return stages;
        }
        let below = self.base.row_stages(tokens.clone(), rows.at_all(), base_cache);
        let said = self.read(readers.of(&tokens), readers.of(&topmost(&below)), value_cache);
        let mut stages: Vec<_> = below.into_iter().map(|stage| rows.wanted(stage)).collect();
        stages.push(rows.add(own, &self.projection, topmost(&stages), rows.wanted(said)));
        stages
    }

    fn split(cache: &mut Cache) -> (&mut Cache, &mut Cache) {
        match cache {
            Cache::Fused(parts) if parts.len() == 2 => {
                let (base, value) = parts.split_at_mut(1);
                (&mut base[0], &mut value[0])
            }
            _ => panic!("a cascade was given the cache of another model"),
        }
    }

    fn is_limited_by_value(&self) -> bool {
        self.value.max_positions() < self.base.max_positions()
    }
}

impl CausalLm for CascadeLm {
    fn vocab(&self) -> &Vocab {
        self.base.vocab()
    }

    fn max_positions(&self) -> usize {
        self.base.max_positions().min(self.value.max_positions())
    }

    fn device(&self) -> Device {
        self.base.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Fused(vec![self.base.new_cache(padding), self.value.new_cache(padding)])
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let (base_cache, value_cache) = Self::split(cache);
        let base = self.base.forward(tokens.clone(), base_cache);
        let value = self.read(tokens, base.clone(), value_cache);
        fuse(base, value, self.alpha)
    }

    /// The value reads the base's prediction at every position, so all logits of both are computed at once.
    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let (base_cache, value_cache) = Self::split(cache);
        let [batch, seq] = tokens.dims();
        let all = Tensor::arange(0..(batch * seq) as i64, &positions.device());
        let parts = self.base.lazy_parts_at(tokens.clone(), all, base_cache)(0..batch * seq);
        let base = parts.fused().reshape([batch as i64, seq as i64, -1]);
        let value = self.read(tokens, base, value_cache).flatten::<2>(0, 1);
        let parts = parts.with(self.projection.apart(value), self.alpha).select(&positions);
        Box::new(move |rows| parts.slice(rows))
    }

    fn row_stages(&self, tokens: Tensor<2, Int>, rows: RowWeights<'_>, cache: &mut Cache) -> Vec<Tensor<3>> {
        let [count, seq] = tokens.dims();
        if !rows.wants_last() {
            return self.stages_of_rows(tokens, rows, cache);
        }
        // The value wants predictions at every position: of a long prompt they are made piece by piece.
        let read = |columns| self.stages_of_rows(tokens.clone().slice([0..count, columns]), rows, cache);
        row_chunks(seq, count * self.vocab().size()).map(read).last().unwrap_or_default()
    }

    fn alphas(&self) -> Vec<f64> {
        let mut alphas = self.base.alphas();
        alphas.push(self.alpha);
        alphas
    }

    fn weights_read(&self) -> usize {
        self.base.values()
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        set_topmost_alpha(&mut *self.base, &mut self.alpha, value, alpha)
    }

    fn on_host(&self) -> bool {
        self.base.on_host()
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.base.reads_at_once(positions) && self.value.reads_at_once(positions)
    }

    fn name(&self) -> &str {
        if self.is_limited_by_value() { self.value.name() } else { self.base.name() }
    }
}

/// What a base predicts, as probabilities over the `size` ids of a value: `softmax(l)` in f32. Padding ids that only one side
/// has are cut off or get 0.
///
/// # Shapes
/// - `logits`: `[.., base_vocab]`
/// - output: `[.., size]`
pub fn predictions<const D: usize>(logits: Tensor<D>, size: usize) -> Tensor<D> {
    let predicted = softmax(logits.cast(DType::F32), D - 1);
    let mut dims = predicted.dims();
    let base_size = dims[D - 1];
    if base_size >= size {
        return if base_size == size { predicted } else { predicted.narrow(D - 1, 0, size) };
    }
    dims[D - 1] = size - base_size;
    let zeros = Tensor::zeros(dims, (&predicted.device(), DType::F32));
    Tensor::cat(vec![predicted, zeros], D - 1)
}
