//! The cascade connection: a value that reads what the base predicted.

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, ModelInfo, Positions};
use crate::error::Error;
use crate::fusion::{
    BaseLm, CascadeValue, CumulativeLogits, GatedProjection, IndependentValues, LogitsAt, RowBytes,
    RowWeighted, RowWeights, SelectedComponents, ValueStack, bridge_cascade, check_alpha, fuse,
};
use crate::row_chunks::row_chunks;
use crate::vocab::{Vocab, VocabMap};

/// A base and a value that reads its predictions: `l = l_base + alpha * M(v(softmax(l_base)))`, in f32.
///
/// A [`CausalLm`] like any other: residual values may be added to it by a [`FusedLm`](crate::FusedLm). A second cascade value on top reads
/// the fused predictions.
pub struct CascadeLm {
    base: BaseLm,
    value: Box<dyn CascadeValue>,
    alpha: f64,
    projection: GatedProjection,
}

impl CascadeLm {
    /// Attaches a value to a base of the same vocabulary. They may be on different devices: predictions move to the value, and its
    /// logits to the base.
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] for a value of another vocabulary: its input embeddings belong to the base's tokens, and no
    /// map leads there. [`Error::InvalidSetting`] for an alpha that is not finite.
    pub fn on(base: impl Into<BaseLm>, value: Box<dyn CascadeValue>, alpha: f64) -> Result<Self, Error> {
        let base = base.into();
        check_alpha(alpha)?;
        let device = base.device();
        let projection = VocabMap::same_ids(base.vocab(), value.vocab())?.on(&device);
        let projection = GatedProjection::new(projection, None);
        let value = bridge_cascade(value, &device);
        Ok(Self { base, value, alpha, projection })
    }

    /// Attaches a value to a plain base of the same vocabulary.
    ///
    /// # Errors
    /// As [`on`](Self::on).
    pub fn new(base: Box<dyn CausalLm>, value: Box<dyn CascadeValue>, alpha: f64) -> Result<Self, Error> {
        Self::on(BaseLm::Plain(base), value, alpha)
    }

    /// The value's logits from what the base predicts, brought to the base's ids. Shapes `[batch, seq, vocab]`.
    fn read(&self, tokens: Tensor<2, Int>, base: Tensor<3>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let predicted = predictions(base, self.value.vocab().size());
        Ok(self.projection.logits(self.value.forward(self.projection.tokens(tokens), predicted, cache)?))
    }

    /// [`RowWeighted::forward_rows`] for tokens that are read at once.
    fn forward_chunk(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        let (base_cache, value_cache) = base_and_value(cache)?;
        let own = self.base.num_values();
        let readers = rows.readers(own);
        if readers.is_empty() {
            let mut all = self.base.forward_rows(tokens, rows, base_cache)?;
            all.push(all.last());
            return Ok(all);
        }
        let below = self.base.forward_rows(tokens.clone(), rows.at_all(), base_cache)?;
        let logits = self.read(readers.of(&tokens), readers.of(&below.last()), value_cache)?;
        let mut all = below.map(|logits| rows.wanted(logits));
        let fused = rows.add(own, &self.projection, &all, rows.wanted(logits));
        all.push(fused);
        Ok(all)
    }
}

/// The cache of the base, and that of the value.
fn base_and_value(cache: &mut Cache) -> Result<(&mut Cache, &mut Cache), Error> {
    let (base, values) = cache.base_and_values(1)?;
    Ok((base, &mut values[0]))
}

impl From<CascadeLm> for BaseLm {
    fn from(lm: CascadeLm) -> Self {
        Self::stack(lm)
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

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let (base_cache, value_cache) = base_and_value(cache)?;
        let base = self.base.forward(tokens.clone(), base_cache)?;
        let value = self.read(tokens, base.clone(), value_cache)?;
        Ok(fuse(base, value, self.alpha))
    }

    fn info(&self) -> ModelInfo {
        let (base, value) = (self.base.info(), self.value.info());
        let limited_by_value = self.value.max_positions() < self.base.max_positions();
        let name = if limited_by_value { value.name.clone() } else { base.name.clone() };
        ModelInfo { name, ..base.beside(&value) }
    }
}

impl ValueStack for CascadeLm {
    fn alphas(&self) -> Vec<f64> {
        let mut alphas = self.base.alphas();
        alphas.push(self.alpha);
        alphas
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        self.base.set_alpha_above(&mut self.alpha, value, alpha)
    }

    /// The value reads the base's prediction at every position, so all logits of both are computed at once.
    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error> {
        let (base_cache, value_cache) = base_and_value(cache)?;
        let [batch, seq] = tokens.dims();
        let components = self.base.component_logits(tokens.clone(), Positions::All, base_cache)?.all();
        let base = components.fused().reshape([batch as i64, seq as i64, -1]);
        let value = self.read(tokens, base, value_cache)?.flatten::<2>(0, 1);
        let term = self.projection.term(&components.base(), value);
        let components = components.with(term, self.alpha);
        let order = crate::tokens::index_tensor(&at.indices([batch, seq]), &components.base().device());
        Ok(SelectedComponents::new(components.select(&order)))
    }
}

impl RowWeighted for CascadeLm {
    fn forward_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        let [count, seq] = tokens.dims();
        if rows.at() == LogitsAt::All {
            return self.forward_chunk(tokens, rows, cache);
        }
        // The value wants predictions at every position: of a long prompt they are made chunk by chunk.
        let mut last = None;
        for columns in row_chunks(seq, count * self.vocab().size()) {
            last = Some(self.forward_chunk(tokens.clone().slice([0..count, columns]), rows, cache)?);
        }
        last.ok_or(Error::EmptyPrompt)
    }

    fn num_cascade_values(&self) -> usize {
        self.base.num_values()
    }

    fn row_bytes(&self) -> RowBytes {
        self.base.row_bytes().with_value(self.value.info().cache_bytes)
    }

    /// The value reads predictions, not only tokens.
    fn independent_values(&self) -> Option<&dyn IndependentValues> {
        None
    }
}

/// The predictions of a base, as probabilities over the `size` ids of a value: `softmax(l)` in f32. Padding ids that only one side
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
