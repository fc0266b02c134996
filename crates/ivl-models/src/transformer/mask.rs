//! Which positions a query may see.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use ivl_core::LayerCache;

use crate::config::LayerKind;

/// The attention mask of one pass, for one kind of layer.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one for each kind of layer in a pass, never moved in bulk")]
pub(crate) enum Mask {
    /// Every key is visible.
    Open,
    /// Query `i` of the new positions sees keys up to its own; no padding, no window, one text in a row.
    Causal,
    /// `true` hides a key; shape `[batch or 1, 1, groups * seq, keys]`.
    Hidden(Tensor<4, Bool>),
}

impl Mask {
    /// The mask for `seq` new positions after those in the cache. Query heads that share a key head are laid out as
    /// further queries (`groups` times `seq` rows).
    pub(crate) fn new(
        kind: LayerKind,
        cache: &LayerCache,
        seq: usize,
        groups: usize,
        device: &Device,
    ) -> Self {
        let keys = cache.len() + seq;
        let window = match kind {
            LayerKind::Full => keys,
            LayerKind::Sliding { window } => window,
        };
        // For each query the first key of its text. Often all rows are alike: one mask serves the batch.
        let start = |row| cache.segments(row, cache.len()..keys).map(|segment| segment.start).collect();
        let mut starts: Vec<Vec<usize>> = (0..cache.padding().len()).map(start).collect();
        if starts.iter().all(|row| *row == starts[0]) {
            starts.truncate(1);
        }
        let whole = starts.iter().flatten().all(|&start| start == 0);
        if whole && window >= keys && (seq == 1 || groups == 1) {
            return if seq == 1 { Self::Open } else { Self::Causal };
        }
        let mut hidden = Vec::with_capacity(starts.len() * groups * seq * keys);
        for starts in &starts {
            let row = hidden.len();
            for (query, &start) in (cache.len()..keys).zip(starts) {
                let first = (query + 1).saturating_sub(window).max(start);
                hidden.extend((0..keys).map(|key| key < first || key > query));
            }
            for _ in 1..groups {
                hidden.extend_from_within(row..row + seq * keys);
            }
        }
        let shape = [starts.len(), 1, groups * seq, keys];
        Self::Hidden(Tensor::from_data(TensorData::new(hidden, shape), device))
    }
}
