//! Logits of a base in memory.

use ivl_core::CausalLm;
use ivl_core::causal_lm::SelectedLogits;

use crate::data::batch::{Batch, index_tensor, segmented};

/// Logits of a base in memory at some positions of a batch, computed when rows of them are selected.
pub(crate) fn lm_logits<'a>(lm: &'a dyn CausalLm, batch: &Batch, positions: &[u32]) -> SelectedLogits<'a> {
    let device = lm.device();
    let positions = index_tensor(positions, &device);
    let mut cache = segmented(lm.new_cache(&batch.no_padding()), batch);
    lm.lazy_logits_at(batch.tokens(&device), positions, &mut cache)
}
