//! Which positions a query may see.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::tokens::index_tensor;

use crate::config::LayerKind;

/// The positions that the new ones of a pass attend to, in one kind of layer.
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
        let keys = cache.held() + seq;
        let window = match kind {
            LayerKind::Full => keys,
            LayerKind::Sliding { window } => window,
        };
        // For each query the first key of its text. Often all rows are alike: one mask serves the batch.
        let start = |row| cache.segments(row, cache.held()..keys).map(|segment| segment.start).collect();
        let mut starts: Vec<Vec<usize>> = (0..cache.padding().len()).map(start).collect();
        if starts.iter().all(|row| *row == starts[0]) {
            starts.truncate(1);
        }
        let whole = starts.iter().flatten().all(|&start| start == 0);
        let queries = starts.iter().flat_map(|starts| (cache.held()..keys).zip(starts));
        let seen = queries.map(|(query, &start)| {
            let first = (query + 1).saturating_sub(window).max(start);
            // Padding before the text sees nothing.
            first.min(query + 1)..query + 1
        });
        Self { seen: seen.collect(), seq, keys, causal: whole && window >= keys, hidden: OnceCell::new() }
    }

    /// The keys that each new position of each row sees, shape `[batch, seq]`.
    pub(crate) fn seen(&self, batch: usize) -> Cow<'_, [Range<usize>]> {
        if self.seen.len() == batch * self.seq {
            return Cow::Borrowed(&self.seen);
        }
        self.seen.iter().cycle().take(batch * self.seq).cloned().collect()
    }

    /// Whether the operation's own causal mask is all that is needed: one text in a row, no padding, no window.
    pub(crate) fn is_causal(&self, groups: usize) -> bool {
        self.causal && groups == 1 && self.seq > 1
    }

    /// `true` hides a key, shape `[batch or 1, 1, groups * seq, keys]`; nothing, where that is not needed. Query heads that share
    /// a key head are laid out as further queries (`groups` times `seq` rows).
    pub(crate) fn hidden(&self, groups: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        if self.causal && groups == 1 {
            return None;
        }
        self.every_hidden(groups, device)
    }

    /// As [`hidden`](Self::hidden), for operations that have no causal mask of their own.
    pub(crate) fn every_hidden(&self, groups: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        if self.causal && self.seq == 1 {
            return None;
        }
        Some(self.hidden.get_or_init(|| self.compare(device).repeat_dim(2, groups)).clone())
    }

    /// Of each query whether its keys lie outside of those it sees, shape `[batch or 1, 1, seq, keys]`: compared on the device, which
    /// is told two numbers a query.
    fn compare(&self, device: &Device) -> Tensor<4, Bool> {
        let shape = [self.seen.len() / self.seq, 1, self.seq, 1];
        let column = |of: fn(&Range<usize>) -> usize| -> Tensor<4, Int> {
            let numbers: Vec<usize> = self.seen.iter().map(of).collect();
            index_tensor(&numbers, device).reshape(shape).repeat_dim(3, self.keys)
        };
        let keys = Tensor::<1, Int>::arange(0..self.keys as i64, device).reshape([1, 1, 1, self.keys]);
        let keys = keys.expand([shape[0], 1, self.seq, self.keys]);
        keys.clone().lower(column(|seen| seen.start)).bool_or(keys.greater_equal(column(|seen| seen.end)))
    }
}
