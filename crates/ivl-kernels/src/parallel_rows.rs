//! Sharing out rows, and other parts of which each is one thread's.

use std::sync::{Mutex, PoisonError};

use crate::parallel;

/// Numbers that are worth the attention of another thread.
pub(crate) const GRAIN: usize = 16 << 10;

/// Calls `work` with groups of rows of `numbers` and the index of the first row of each, on several threads if there are many.
pub(crate) fn for_row_groups(numbers: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if numbers.len() <= GRAIN {
        return work(0, numbers);
    }
    let rows = GRAIN.div_ceil(width);
    parallel_map(numbers.chunks_mut(rows * width), |group, numbers| work(group * rows, numbers));
}

/// Calls `work` with each part and its index, on several threads, and gives the parts back.
pub(crate) fn parallel_map<T: Send>(
    parts: impl Iterator<Item = T>,
    work: impl Fn(usize, &mut T) + Sync,
) -> Vec<T> {
    // Each lock is taken once: it hands over the exclusive reference.
    let parts: Vec<_> = parts.map(Mutex::new).collect();
    parallel(parts.len(), |index| {
        work(index, &mut parts[index].lock().unwrap_or_else(PoisonError::into_inner));
    });
    parts.into_iter().map(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}
