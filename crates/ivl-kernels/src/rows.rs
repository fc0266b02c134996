//! Sharing out rows.

use std::sync::{Mutex, PoisonError};

use crate::parallel;

/// Numbers that are worth the attention of another thread.
pub(crate) const SHARE: usize = 16 << 10;

/// Calls `work` with groups of rows of `numbers` and the index of the first row of each, on several threads if there are many.
pub(crate) fn by_rows(numbers: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if numbers.len() <= SHARE {
        return work(0, numbers);
    }
    let rows = SHARE.div_ceil(width);
    // Each lock is taken once: it hands over the exclusive reference.
    let groups: Vec<_> = numbers.chunks_mut(rows * width).map(Mutex::new).collect();
    parallel(groups.len(), |group| {
        work(group * rows, &mut groups[group].lock().unwrap_or_else(PoisonError::into_inner));
    });
}
