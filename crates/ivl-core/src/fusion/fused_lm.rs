//! A base and its values as one causal LM.

mod batch;
mod gated;

pub use batch::{CumulativeLogits, DecodeBatch};
pub(crate) use batch::{ValueRows, topmost};
pub use gated::GatedLm;

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, SelectedComponents, SelectedLogits};
use crate::cross_tokenizer::Retokenizer;
use crate::cross_tokenizer::retokenized_value::RetokenizedValue;
use crate::error::Error;
use crate::fusion::{LogitComponents, RowWeights};
use crate::vocab::{Vocab, VocabMap, VocabProjection};

/// A value network, ready to be added to a base.
pub struct Value {
    lm: Box<dyn CausalLm>,
    alpha: f64,
    map: Option<VocabMap>,
    tokenizer: Option<Box<dyn Retokenizer>>,
}

impl Value {
    /// A value whose ids mean the same tokens as the base's.
    pub fn new(lm: Box<dyn CausalLm>, alpha: f64) -> Self {
        Self { lm, alpha, map: None, tokenizer: None }
    }

    /// A value that gives tokens other ids, with the map that leads to it.
    #[must_use]
    pub fn with_map(mut self, map: VocabMap) -> Self {
        self.map = Some(map);
        self
    }

    /// A value that cuts texts into other tokens than the base: it reads every text in its own, and what it says is brought
    /// to the base's ids by the map. `docs/vocabularies.md` has the details.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Box<dyn Retokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// What is added to a base of this vocabulary.
    fn attach(self, base: &Vocab) -> Result<Part, Error> {
        check_alpha(self.alpha)?;
        let map = match self.map {
            Some(map) => map,
            None => VocabMap::same_ids(base, self.lm.vocab())?,
        };
        map.check(base, self.lm.vocab())?;
        Ok(match self.tokenizer {
            None => Part { projection: map.on(&self.lm.device()), lm: self.lm, alpha: self.alpha },
            Some(tokenizer) => Part {
                lm: Box::new(RetokenizedValue::new(base, self.lm, map, tokenizer)),
                alpha: self.alpha,
                projection: VocabProjection::partial(base.size()),
            },
        })
    }
}

struct Part {
    lm: Box<dyn CausalLm>,
    alpha: f64,
    projection: VocabProjection,
}

impl Part {
    /// Puts what the network says over its own ids, `[n, value_vocab]`, beside the base.
    fn join(&self, parts: LogitComponents, value: Tensor<2>) -> LogitComponents {
        parts.with(self.projection.apart(self.projection.rows(value)), self.alpha)
    }
}

/// A base with any number of values: `l = l_base + sum_i alpha_i * M_i(l_value_i)`, in f32.
///
/// It is itself a [`CausalLm`], so that generation, scoring and evaluation neither know nor care that a value is
/// attached, and fusions nest.
pub struct FusedLm {
    base: Box<dyn CausalLm>,
    parts: Vec<Part>,
    max_positions: usize,
    name: String,
}

impl FusedLm {
    /// Attaches values to a base. Every value's vocabulary is checked here, token by token.
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] for a value of another vocabulary without a map, [`Error::ForeignMap`] for a map of other
    /// vocabularies, [`Error::InvalidSetting`] for an alpha that is not finite.
    pub fn new(base: Box<dyn CausalLm>, values: Vec<Value>) -> Result<Self, Error> {
        let (mut max_positions, mut name) = (base.max_positions(), base.name().to_owned());
        let mut parts = Vec::with_capacity(values.len());
        for value in values {
            let part = value.attach(base.vocab())?;
            if part.lm.max_positions() < max_positions {
                (max_positions, name) = (part.lm.max_positions(), part.lm.name().to_owned());
            }
            parts.push(part);
        }
        Ok(Self { base, parts, max_positions, name })
    }

    /// The base alone.
    pub fn base(&self) -> &dyn CausalLm {
        &*self.base
    }

    fn split<'c>(&self, cache: &'c mut Cache) -> (&'c mut Cache, &'c mut [Cache]) {
        match cache {
            Cache::Fused(parts) if parts.len() == self.parts.len() + 1 => {
                let (base, values) = parts.split_at_mut(1);
                (&mut base[0], values)
            }
            _ => panic!("a fused model was given the cache of another model"),
        }
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
        let values = self.parts.iter().map(|part| part.lm.new_cache(padding));
        Cache::Fused(std::iter::once(self.base.new_cache(padding)).chain(values).collect())
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let (base_cache, value_caches) = self.split(cache);
        let base = fuse_base(self.base.forward(tokens.clone(), base_cache));
        self.parts.iter().zip(value_caches).fold(base, |fused, (part, cache)| {
            let value = part.lm.forward(part.projection.tokens(tokens.clone()), cache);
            part.projection.add(fused, part.projection.logits(value), part.alpha)
        })
    }

    fn row_stages(&self, tokens: Tensor<2, Int>, rows: RowWeights<'_>, cache: &mut Cache) -> Vec<Tensor<3>> {
        self.stages_of_rows(tokens, rows, cache)
    }

    fn alphas(&self) -> Vec<f64> {
        let mut alphas = self.base.alphas();
        alphas.extend(self.parts.iter().map(|part| part.alpha));
        alphas
    }

    fn weights_read(&self) -> usize {
        self.base.weights_read()
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        check_alpha(alpha)?;
        let below = self.base.values();
        if value < below {
            return self.base.set_alpha(value, alpha);
        }
        let values = below + self.parts.len();
        let part = self.parts.get_mut(value - below).ok_or_else(|| Error::InvalidSetting {
            name: "value",
            expected: "the index of an attached value",
            got: format!("{value} of {values}"),
        })?;
        part.alpha = alpha;
        Ok(())
    }

    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let (base_cache, value_caches) = self.split(cache);
        let base = fuse_base(self.base.next_logits(tokens.clone(), base_cache));
        self.parts.iter().zip(value_caches).fold(base, |fused, (part, cache)| {
            let value = part.lm.next_logits(part.projection.tokens(tokens.clone()), cache);
            part.projection.add(fused, part.projection.rows(value), part.alpha)
        })
    }

    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> SelectedComponents<'_> {
        let (base_cache, value_caches) = self.split(cache);
        let base = self.base.lazy_parts_at(tokens.clone(), positions.clone(), base_cache);
        let values = self.parts.iter().zip(value_caches).map(|(part, cache)| {
            let tokens = part.projection.tokens(tokens.clone());
            (part, part.lm.lazy_logits_at(tokens, positions.clone(), cache))
        });
        let values: Vec<_> = values.collect();
        Box::new(move |rows| {
            let with = |parts: LogitComponents, (part, value): &(&Part, SelectedLogits<'_>)| {
                part.join(parts, value(rows.clone()))
            };
            values.iter().fold(base(rows.clone()), with)
        })
    }

    fn on_host(&self) -> bool {
        self.base.on_host()
    }

    fn reads_at_once(&self, positions: &Range<usize>) -> bool {
        self.base.reads_at_once(positions) && self.parts.iter().all(|part| part.lm.reads_at_once(positions))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Sums are taken in f32, whatever the base computes in.
fn fuse_base<const D: usize>(base: Tensor<D>) -> Tensor<D> {
    base.cast(burn::tensor::DType::F32)
}

pub(crate) fn check_alpha(alpha: f64) -> Result<(), Error> {
    if alpha.is_finite() {
        return Ok(());
    }
    Err(Error::InvalidSetting { name: "alpha", expected: "a finite number", got: alpha.to_string() })
}

/// [`CausalLm::set_alpha`] of a model that adds one value to a base.
pub(crate) fn set_topmost_alpha(
    base: &mut dyn CausalLm,
    own: &mut f64,
    value: usize,
    alpha: f64,
) -> Result<(), Error> {
    if value != base.values() {
        return base.set_alpha(value, alpha);
    }
    check_alpha(alpha)?;
    *own = alpha;
    Ok(())
}
