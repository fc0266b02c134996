//! The frozen bases that a value is trained against or measured on.

use std::rc::Rc;

use ivl_core::{CausalLm, LazyLogits, Projection};

use crate::batch::Batch;

/// A frozen base, on a device without autodiff: no gradient can reach it.
#[derive(Clone)]
pub struct FrozenBase {
    /// For reports.
    pub name: String,
    /// The base.
    pub lm: Rc<dyn CausalLm>,
    /// From the value's vocabulary to this base's.
    pub projection: Projection,
    /// Its share in training among several; above 0.
    pub weight: f64,
}

impl FrozenBase {
    /// Logits at some positions of a batch, computed as they are asked for.
    pub fn logits(&self, batch: &Batch, positions: &[u32]) -> LazyLogits<'_> {
        let device = self.lm.device();
        let positions = ivl_core::token_tensor(positions, 1, &device).reshape([-1]);
        let mut cache = batch.cache(|padding| self.lm.new_cache(padding));
        self.lm.lazy_logits_at(batch.tokens(&device), positions, &mut cache)
    }
}
