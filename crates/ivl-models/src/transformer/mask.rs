//! Which positions a query may see.

use std::cell::OnceCell;
use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use ivl_core::LayerCache;

use crate::config::LayerKind;

/// What the new positions of one pass see, in one kind of layer.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    /// For each new position of each row the keys that it sees; of one row, if all are alike.
    seen: Vec<Range<usize>>,
    /// New positions.
    seq: usize,
    /// Keys in all.
    keys: usize,
    /// Each position sees every key up to its own.
    causal: bool,
    hidden: OnceCell<Tensor<4, Bool>>,
}

impl Mask {
    /// The mask for `seq` new positions after those in the cache.
    pub(crate) fn new(kind: LayerKind, cache: &LayerCache, seq: usize) -> Self {
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
        let queries = starts.iter().flat_map(|starts| (cache.len()..keys).zip(starts));
        let seen = queries.map(|(query, &start)| {
            let first = (query + 1).saturating_sub(window).max(start);
            // Padding before the text sees nothing.
            first.min(query + 1)..query + 1
        });
        Self { seen: seen.collect(), seq, keys, causal: whole && window >= keys, hidden: OnceCell::new() }
    }

    /// The keys that each new position of each row sees, shape `[batch, seq]`.
    pub(crate) fn seen(&self, batch: usize) -> Vec<Range<usize>> {
        self.seen.iter().cycle().take(batch * self.seq).cloned().collect()
    }

    /// Whether the operation's own causal mask is all that is needed: one text in a row, no padding, no window.
    pub(crate) fn is_causal(&self, groups: usize) -> bool {
        self.causal && groups == 1 && self.seq > 1
    }

    /// `true` hides a key, shape `[batch or 1, 1, groups * seq, keys]`; nothing, where that is not needed. Query heads that share
    /// a key head are laid out as further queries (`groups` times `seq` rows).
    pub(crate) fn hidden(&self, groups: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        if self.causal && (self.seq == 1 || groups == 1) {
            return None;
        }
        let hidden = self.hidden.get_or_init(|| {
            let rows = self.seen.chunks(self.seq);
            let mut hidden = Vec::with_capacity(groups * self.seen.len() * self.keys);
            for row in rows.clone() {
                for seen in std::iter::repeat_n(row, groups).flatten() {
                    hidden.extend((0..self.keys).map(|key| !seen.contains(&key)));
                }
            }
            Tensor::from_data(TensorData::new(hidden, [rows.len(), 1, groups * self.seq, self.keys]), device)
        });
        Some(hidden.clone())
    }
}
