//! A frozen base that a value is trained against or evaluated on.

use std::rc::Rc;

use burn::tensor::Device;
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::{CausalLm, VocabMap};

use super::cross_tokenizer::BatchRetokenizer;
use super::lm_logits::lm_logits;
use super::logit_cache::LogitCache;
use crate::Error;
use crate::data::batch::Batch;

/// A frozen base, on a device without autodiff: no gradient can reach it.
#[derive(Clone)]
#[non_exhaustive]
pub struct FrozenBase {
    /// For reports.
    pub name: String,
    /// Where its logits come from.
    pub source: BaseLogits,
    /// From the value's vocabulary to this base's.
    pub map: VocabMap,
    /// Brings batches into this base's tokens, if it cuts texts into other tokens than the value.
    pub retokenizer: Option<Rc<BatchRetokenizer>>,
    /// Its share in training among several; above 0.
    pub weight: f64,
}

/// Where a base's logits come from.
#[derive(Clone)]
pub enum BaseLogits {
    /// The base, in memory: logits at every position of any text.
    Lm(Rc<dyn CausalLm>),
    /// Logits on disk: at the trained positions of the examples of this run.
    Cached(CachedLogits),
}

/// The logits of a base on disk.
#[derive(Clone)]
pub struct CachedLogits {
    /// For the examples to train on.
    pub train: Rc<LogitCache>,
    /// For the held-out examples, if there are any.
    pub eval: Option<Rc<LogitCache>>,
    /// Where the logits go.
    pub device: Device,
}

impl CachedLogits {
    /// The logits for some examples.
    pub(crate) fn of(&self, split: Split) -> Option<&LogitCache> {
        match split {
            Split::Train => Some(&self.train),
            Split::Eval => self.eval.as_deref(),
        }
    }
}

/// Which examples a batch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Those to train on.
    Train,
    /// The held-out ones.
    Eval,
}

impl FrozenBase {
    /// A base of weight 1 that shares its tokens with the value.
    pub fn new(name: impl Into<String>, source: BaseLogits, map: VocabMap) -> Self {
        Self { name: name.into(), source, map, retokenizer: None, weight: 1.0 }
    }

    /// The base itself, if it is in memory.
    pub fn lm(&self) -> Option<&dyn CausalLm> {
        match &self.source {
            BaseLogits::Lm(lm) => Some(&**lm),
            BaseLogits::Cached(_) => None,
        }
    }

    pub(crate) fn not_cached(&self, wanted: &'static str) -> Error {
        Error::NotCached { base: self.name.clone(), wanted }
    }

    /// Logits at the trained positions of a batch, computed or read when rows of them are selected.
    ///
    /// # Errors
    /// [`Error::NotCached`] if there is no cache for these examples.
    pub fn trained_logits(&self, batch: &Batch, split: Split) -> Result<SelectedLogits<'_>, Error> {
        match &self.source {
            BaseLogits::Lm(lm) => Ok(lm_logits(&**lm, batch, &batch.positions)?),
            BaseLogits::Cached(cached) => {
                let cache = cached.of(split).ok_or_else(|| self.not_cached("for the held-out examples"))?;
                let records = cache.records(batch);
                let logits = move |rows| cache.logits(&records[rows], &cached.device);
                Ok(SelectedLogits::computed(batch.positions.len(), logits))
            }
        }
    }
}
