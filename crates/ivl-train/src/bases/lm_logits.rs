//! Logits of a base in memory.

use ivl_core::CausalLm;
use ivl_core::causal_lm::{Positions, SelectedLogits};

use crate::data::batch::Batch;

/// Logits of a base at some positions of a batch, computed when rows of them are selected.
///
/// # Errors
/// [`ivl_core::Error`] if the base cannot read several texts in a row.
pub(crate) fn lm_logits<'a>(
    lm: &'a dyn CausalLm,
    batch: &Batch,
    positions: &[u32],
) -> Result<SelectedLogits<'a>, ivl_core::Error> {
    let positions: Vec<usize> = positions.iter().map(|&position| position as usize).collect();
    let mut cache = lm.new_cache(&batch.no_padding());
    // Texts of one length, each in a row of its own, need no borders: then a value that reads texts in its own tokens can
    // read them too.
    let seq = batch.ids.len() / batch.rows.max(1);
    if batch.segments.iter().any(|row| row[..] != [seq]) {
        cache.segment(&batch.segments)?;
    }
    lm.select_logits(batch.tokens(&lm.device()), Positions::Indices(&positions), &mut cache)
}
