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
    /// Query `i` of the new positions sees keys up to its own; no padding, no window.
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
        let padded = cache.padding().iter().any(|&padding| padding > 0);
        if !padded && window >= keys && (seq == 1 || groups == 1) {
            return if seq == 1 { Self::Open } else { Self::Causal };
        }
        let unpadded = [0];
        let padding = if padded { cache.padding() } else { &unpadded };
        let mut hidden = Vec::with_capacity(padding.len() * groups * seq * keys);
        for &padding in padding {
            let row = hidden.len();
            for query in cache.len()..keys {
                let first = (query + 1).saturating_sub(window).max(padding);
                hidden.extend((0..keys).map(|key| key < first || key > query));
            }
            for _ in 1..groups {
                hidden.extend_from_within(row..row + seq * keys);
            }
        }
        let shape = [padding.len(), 1, groups * seq, keys];
        Self::Hidden(Tensor::from_data(TensorData::new(hidden, shape), device))
    }
}
