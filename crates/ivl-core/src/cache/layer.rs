//! What one layer keeps of a text.

use super::{KvCache, LayerShape, RecurrentState};

/// Keys and values of an attention layer, or the state of a recurrent one; the other of the two stays empty.
#[derive(Debug, Clone, Default)]
pub struct LayerMemory {
    /// Keys and values.
    pub keys: KvCache,
    /// The state.
    pub state: RecurrentState,
    /// The state at the place that [`LayerCache::mark`](super::LayerCache::mark) names, once a layer has read beyond it.
    pub marked: Option<RecurrentState>,
}

impl LayerMemory {
    pub(super) fn shape(&self) -> LayerShape {
        match self.keys.heads() {
            Some([heads, dim]) => LayerShape::Keys { heads, dim },
            None => self.state.shape(),
        }
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        self.keys.select(rows);
        self.state.select(rows);
    }

    /// Adds the rows of another cache. The ends of all rows are aligned at `len`.
    pub(super) fn join(&mut self, other: Self, len: usize) {
        if self.keys.heads().is_some() {
            self.keys.join(other.keys, len);
        }
        self.state.join(other.state);
    }

    /// Keeps some rows, without their first `dropped` positions.
    pub(super) fn keep(&mut self, rows: &[usize], dropped: usize) {
        if self.keys.heads().is_some() {
            self.keys.keep(rows, dropped);
        }
        self.state.select(rows);
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.state.bytes()
    }
}
