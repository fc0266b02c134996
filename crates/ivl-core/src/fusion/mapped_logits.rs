//! The logits of a value over the base's ids.

use burn::tensor::Tensor;

use crate::fusion::unmapped::fuse_partial;

/// Logits of a value brought to the base's ids, and the ids for which it has none.
///
/// # Shapes
/// `[.., base_vocab]`; the masks may have 1 in place of every axis but the last.
#[derive(Debug, Clone)]
pub(crate) struct MappedLogits<const D: usize> {
    /// 0 for an id without a logit.
    pub(crate) logits: Tensor<D>,
    /// 1 for every id that gets the neutral value; `None` if there is no such id.
    pub(crate) unmapped: Option<Tensor<D>>,
    /// 1 for every id without a logit: those of `unmapped`, and those at which the base's logit stays. `None` if every id has a
    /// logit.
    pub(crate) missing: Option<Tensor<D>>,
}

impl<const D: usize> MappedLogits<D> {
    /// Logits of every id.
    pub(crate) fn whole(logits: Tensor<D>) -> Self {
        Self { logits, unmapped: None, missing: None }
    }

    /// Adds them, at a weight, to logits of the base's ids: [`fuse_partial`]. The result is in f32.
    pub(crate) fn onto(&self, fused: Tensor<D>, alpha: f64) -> Tensor<D> {
        fuse_partial(fused, self.logits.clone(), self.unmapped.clone(), alpha)
    }

    /// The same part of the rows of all of them; a mask with one row for all keeps it.
    pub(crate) fn rows(&self, part: impl Fn(Tensor<D>) -> Tensor<D>) -> Self {
        let count = self.logits.dims()[0];
        let own = |mask: &Tensor<D>| if mask.dims()[0] == count { part(mask.clone()) } else { mask.clone() };
        Self {
            logits: part(self.logits.clone()),
            unmapped: self.unmapped.as_ref().map(own),
            missing: self.missing.as_ref().map(own),
        }
    }
}
