//! A base and its values as one causal LM.

use burn::tensor::{Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, ModelInfo, Positions, SelectedLogits};
use crate::error::Error;
use crate::fusion::{
    BaseLm, CumulativeLogits, GatedProjection, IndependentValues, LearnedGate, RowBytes, RowWeighted,
    RowWeights, SelectedComponents, ValueRows, ValueStack, VocabProjection, bridge_lm, check_alpha,
};
use crate::vocab::{Vocab, VocabMap};

/// A value network, ready to be added to a base.
pub struct Value {
    lm: Box<dyn CausalLm>,
    alpha: f64,
    ids: ValueIds,
    gate: Option<LearnedGate>,
}

/// How the ids of a value relate to the base's.
enum ValueIds {
    Same,
    Mapped(VocabMap),
    Partial,
}

impl Value {
    /// A value whose ids mean the same tokens as the base's.
    pub fn new(lm: Box<dyn CausalLm>, alpha: f64) -> Self {
        Self { lm, alpha, ids: ValueIds::Same, gate: None }
    }

    /// A value that gives tokens other ids, with the map that leads to it.
    #[must_use]
    pub fn with_map(self, map: VocabMap) -> Self {
        Self { ids: ValueIds::Mapped(map), ..self }
    }

    /// A value that reads the base's ids and gives logits of them, minus infinity for ids without a logit: those ids get the
    /// neutral value of [`VocabProjection::add`]. Values with a tokenizer of their own are such
    /// ([`RetokenizedValue`](crate::cross_tokenizer::RetokenizedValue)).
    pub fn partial(lm: Box<dyn CausalLm>, alpha: f64) -> Self {
        Self { lm, alpha, ids: ValueIds::Partial, gate: None }
    }

    /// The same value, multiplied at each position by what a gate says there, if there is one.
    #[must_use]
    pub fn with_gate(self, gate: impl Into<Option<LearnedGate>>) -> Self {
        Self { gate: gate.into(), ..self }
    }

    /// The value as a part of a model with this base, on the base's device.
    fn attach(self, base: &BaseLm) -> Result<AttachedNetwork, Error> {
        check_alpha(self.alpha)?;
        let (base, device) = (base.vocab(), base.device());
        let lm = bridge_lm(self.lm, &device);
        let same_ids = || VocabMap::same_ids(base, lm.vocab());
        let projection = match self.ids {
            ValueIds::Partial => {
                same_ids()?;
                VocabProjection::partial(base.size())
            }
            ValueIds::Mapped(map) => {
                map.check(base, lm.vocab())?;
                map.on(&device)
            }
            ValueIds::Same => same_ids()?.on(&device),
        };
        Ok(AttachedNetwork { projection: GatedProjection::new(projection, self.gate), lm, alpha: self.alpha })
    }
}

/// A value of a [`FusedLm`].
pub(super) struct AttachedNetwork {
    pub(super) lm: Box<dyn CausalLm>,
    pub(super) alpha: f64,
    pub(super) projection: GatedProjection,
}

/// A base with any number of values: `l = l_base + sum_i alpha_i * M_i(l_value_i)`, in f32. The term of a value with a
/// [`LearnedGate`] is `alpha_i * g_i * M_i(l_value_i)`.
///
/// It is itself a [`CausalLm`], so that generation, scoring and evaluation do not know whether values are attached, and
/// fusions nest.
pub struct FusedLm {
    pub(super) base: BaseLm,
    pub(super) values: Vec<AttachedNetwork>,
    max_positions: usize,
    name: String,
}

impl FusedLm {
    /// Attaches values to a plain base. Every value's vocabulary is checked here, token by token. A value may be on another device
    /// than the base: its logits move to the base's device, where they are added.
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] for a value of another vocabulary without a map, [`Error::ForeignMap`] for a map of other
    /// vocabularies, [`Error::InvalidSetting`] for an alpha that is not finite.
    pub fn new(base: Box<dyn CausalLm>, values: Vec<Value>) -> Result<Self, Error> {
        Self::on(BaseLm::Plain(base), values)
    }

    /// Attaches values to a base that may have values itself.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(base: impl Into<BaseLm>, values: Vec<Value>) -> Result<Self, Error> {
        let base = base.into();
        let (mut max_positions, mut name) = (base.max_positions(), base.info().name);
        let mut attached = Vec::with_capacity(values.len());
        for value in values {
            let value = value.attach(&base)?;
            if value.lm.max_positions() < max_positions {
                (max_positions, name) = (value.lm.max_positions(), value.lm.info().name);
            }
            attached.push(value);
        }
        Ok(Self { base, values: attached, max_positions, name })
    }

    /// The base without the values.
    pub fn base(&self) -> &dyn CausalLm {
        &self.base
    }

    fn read_value(
        &self,
        value: usize,
        tokens: &Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<Option<Tensor<3>>, Error> {
        let readers = rows.readers(self.base.num_values() + value);
        if readers.is_empty() {
            return Ok(None);
        }
        let value = &self.values[value];
        let tokens = value.projection.tokens(readers.of(tokens));
        Ok(Some(value.projection.logits(rows.logits(&*value.lm, tokens, cache)?)))
    }

    fn add_value(
        &self,
        value: usize,
        below: &CumulativeLogits,
        logits: Option<Tensor<3>>,
        rows: RowWeights<'_>,
    ) -> Tensor<3> {
        match logits {
            Some(logits) => {
                rows.add(self.base.num_values() + value, &self.values[value].projection, below, logits)
            }
            None => below.last(),
        }
    }
}

impl From<FusedLm> for BaseLm {
    fn from(lm: FusedLm) -> Self {
        Self::stack(lm)
    }
}

impl CausalLm for FusedLm {
    fn vocab(&self) -> &Vocab {
        self.base.vocab()
    }

    fn max_positions(&self) -> usize {
        self.max_positions
    }

    fn device(&self) -> Device {
        self.base.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        let values = self.values.iter().map(|value| value.lm.new_cache(padding));
        Cache::Fused(std::iter::once(self.base.new_cache(padding)).chain(values).collect())
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        if self.values.iter().any(|value| value.projection.has_gate()) {
            // A gate reads the logits of the base without any value, which components keep apart.
            let [batch, seq] = tokens.dims();
            let logits = self.select_logits(tokens, Positions::All, cache)?.all();
            return Ok(logits.reshape([batch as i64, seq as i64, -1]));
        }
        let (base_cache, caches) = cache.base_and_values(self.values.len())?;
        // Sums are taken in f32, whatever the base computes in.
        let mut fused = self.base.forward(tokens.clone(), base_cache)?.cast(burn::tensor::DType::F32);
        for (value, cache) in self.values.iter().zip(caches) {
            let logits = value.lm.forward(value.projection.tokens(tokens.clone()), cache)?;
            fused = value.projection.add_ungated(fused, value.projection.logits(logits), value.alpha);
        }
        Ok(fused)
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        Ok(self.component_logits(tokens, at, cache)?.into_logits())
    }

    fn info(&self) -> ModelInfo {
        let info = self.values.iter().fold(self.base.info(), |info, value| info.beside(&value.lm.info()));
        ModelInfo { name: self.name.clone(), ..info }
    }
}

impl ValueStack for FusedLm {
    fn alphas(&self) -> Vec<f64> {
        let mut alphas = self.base.alphas();
        alphas.extend(self.values.iter().map(|value| value.alpha));
        alphas
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        check_alpha(alpha)?;
        let of_base = self.base.num_values();
        if value < of_base {
            return self.base.set_alpha(value, alpha);
        }
        let count = of_base + self.values.len();
        let value = self.values.get_mut(value - of_base).ok_or_else(|| Error::InvalidSetting {
            name: "value",
            expected: "the index of an attached value",
            got: format!("{value} of {count}"),
        })?;
        value.alpha = alpha;
        Ok(())
    }

    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error> {
        let (base_cache, caches) = cache.base_and_values(self.values.len())?;
        let mut components = self.base.component_logits(tokens.clone(), at, base_cache)?;
        for (value, cache) in self.values.iter().zip(caches) {
            let logits = value.lm.select_logits(value.projection.tokens(tokens.clone()), at, cache)?;
            components = components.with(logits, &value.projection, value.alpha);
        }
        Ok(components)
    }
}

impl RowWeighted for FusedLm {
    fn forward_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        let (base_cache, caches) = cache.base_and_values(self.values.len())?;
        let mut all = self.base.forward_rows(tokens.clone(), rows, base_cache)?;
        for (value, cache) in caches.iter_mut().enumerate() {
            let logits = self.read_value(value, &tokens, rows, cache)?;
            let fused = self.add_value(value, &all, logits, rows);
            all.push(fused);
        }
        Ok(all)
    }

    fn num_cascade_values(&self) -> usize {
        self.base.num_cascade_values()
    }

    fn row_bytes(&self) -> RowBytes {
        let values = self.values.iter().map(|value| value.lm.info().cache_bytes);
        values.fold(self.base.row_bytes(), RowBytes::with_value)
    }

    fn independent_values(&self) -> Option<&dyn IndependentValues> {
        Some(self)
    }
}

impl IndependentValues for FusedLm {
    fn base_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        self.base.forward_rows(tokens, rows, cache.base_and_values(self.values.len())?.0)
    }

    fn value_rows(
        &self,
        tokens: &Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<ValueRows, Error> {
        let caches = cache.base_and_values(self.values.len())?.1;
        (0..).zip(caches).map(|(value, cache)| self.read_value(value, tokens, rows, cache)).collect()
    }

    fn add_rows(
        &self,
        mut all: CumulativeLogits,
        values: &ValueRows,
        rows: RowWeights<'_>,
    ) -> CumulativeLogits {
        for (value, logits) in values.iter().enumerate() {
            let fused = self.add_value(value, &all, logits.clone(), rows);
            all.push(fused);
        }
        all
    }
}
