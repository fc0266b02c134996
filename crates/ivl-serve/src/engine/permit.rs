//! Places in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places among the texts that wait or run; given back when dropped.
#[derive(Debug)]
pub(crate) struct QueuePermit {
    taken: Arc<AtomicUsize>,
    places: usize,
}

impl QueuePermit {
    /// Takes `places` if no more than `limit` are then taken in all.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, places: usize, limit: usize) -> Option<Self> {
        let fits = |taken: usize| (taken + places <= limit).then_some(taken + places);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self { taken: taken.clone(), places })
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.places, Ordering::Relaxed);
    }
}
