//! What is found out about the processor once.

use std::sync::atomic::{AtomicU8, Ordering};

/// The place in a list of what was found, plus one; zero until then.
///
/// A `OnceLock` would do the same, but the standard library's half of it is compiled without the thread sanitizer, which then
/// reports a race where threads ask for the first time. Here two threads may both find out, and find the same.
pub(super) struct Detected(AtomicU8);

impl Detected {
    pub(super) const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// What `detect` finds, which has to be one of `all`.
    #[inline(always)]
    pub(super) fn one_of<T: Copy + PartialEq>(&self, all: &[T], detect: impl FnOnce() -> T) -> T {
        // What was found lies in the number alone, so that no other memory has to be visible with it.
        if let Some(found) = usize::from(self.0.load(Ordering::Relaxed)).checked_sub(1) {
            return all[found];
        }
        let found = detect();
        if let Some(place) = all.iter().position(|one| *one == found) {
            self.0.store(place as u8 + 1, Ordering::Relaxed);
        }
        found
    }
}
