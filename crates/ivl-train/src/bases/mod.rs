//! The frozen bases that a value is trained against or measured on.

pub(crate) mod logit_cache;
pub(crate) mod rewriting;

pub use self::logit_cache::{CacheSettings, LogitCache, LogitCacheHeader};
pub use self::rewriting::{OtherTokens, Rewritten};

use std::rc::Rc;

use burn::tensor::Device;
use ivl_core::causal_lm::{Positions, SelectedLogits};
use ivl_core::{CausalLm, VocabMap};

use crate::data::batch::Batch;

/// A frozen base, on a device without autodiff: no gradient can reach it.
#[derive(Clone)]
pub struct FrozenBase {
    /// For reports.
    pub name: String,
    /// Where its logits come from.
    pub source: BaseLogits,
    /// From the value's vocabulary to this base's.
    pub map: VocabMap,
    /// How it writes texts, if it cuts them into other tokens than the value.
    pub other_tokens: Option<Rc<OtherTokens>>,
    /// Its share in training among several; above 0.
    pub weight: f64,
}

/// Where a base's logits come from.
#[derive(Clone)]
pub enum BaseLogits {
    /// The base, in memory.
    Lm(Rc<dyn CausalLm>),
    /// Its logits for the examples of this run, on disk.
    Cached {
        /// For those that are trained on.
        train: Rc<LogitCache>,
        /// For those that are held out; none where nothing is.
        eval: Option<Rc<LogitCache>>,
        /// Where they are wanted.
        device: Device,
    },
}

/// Which examples a batch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Those that are trained on.
    Train,
    /// Those that are held out.
    Eval,
}

impl FrozenBase {
    /// Whether the base itself is there, to give logits at any position.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.source, BaseLogits::Lm(_))
    }

    /// Logits at some positions of a batch, computed or read as they are asked for; none if there is no cache of this split.
    ///
    /// # Panics
    /// If a cache is asked for other positions than the learnt ones.
    pub fn logits(&self, batch: &Batch, positions: &[u32], split: Split) -> Option<SelectedLogits<'_>> {
        match &self.source {
            BaseLogits::Lm(lm) => {
                let device = lm.device();
                let positions: Vec<usize> = positions.iter().map(|&position| position as usize).collect();
                let at = Positions::Indices(&positions);
                let logits = lm.select_logits(batch.tokens(&device), at, &mut batch.cache(&**lm));
                Some(logits.expect("the base reads a cache of its own"))
            }
            BaseLogits::Cached { train, eval, device } => {
                assert_eq!(positions, batch.positions, "a cache holds the learnt positions");
                let cache = match split {
                    Split::Train => train,
                    Split::Eval => eval.as_ref()?,
                };
                let records = cache.records(batch);
                let logits = move |rows| cache.logits(&records[rows], device);
                Some(SelectedLogits::computed(positions.len(), logits))
            }
        }
    }
}
