//! Parts of one slice, written by several threads.

use std::marker::PhantomData;

/// A slice of which threads write parts that are not contiguous, as columns of a matrix are.
pub(crate) struct DisjointSlice<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a raw pointer is not shared by default")]
// SAFETY: threads that share it can only call `write` and `read`, whose callers promise that while one thread writes some
// numbers, no other writes or reads them.
unsafe impl Sync for DisjointSlice<'_> {}

impl<'a> DisjointSlice<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Writes `numbers` from index `at` on.
    ///
    /// # Safety
    /// No other thread may write or read the same numbers at the same time.
    ///
    /// # Panics
    /// If they reach beyond the end.
    #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts only")]
    #[inline(always)]
    pub(crate) unsafe fn write(&self, at: usize, numbers: &[f32]) {
        assert!(at <= self.len && numbers.len() <= self.len - at, "a part of the slice");
        // SAFETY: inside the slice, which is borrowed for as long as `self` lives, and no other thread uses these numbers now.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.start.add(at), numbers.len()) };
    }
}

impl DisjointSlice<'_> {
    /// The `len` numbers at `at`.
    ///
    /// # Safety
    /// No thread may write to them while the reference lives.
    ///
    /// # Panics
    /// If they are not inside.
    #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts only")]
    #[inline(always)]
    pub(crate) unsafe fn read(&self, at: usize, len: usize) -> &[f32] {
        assert!(at <= self.len && len <= self.len - at, "a part of the slice");
        // SAFETY: inside the slice, which is borrowed for as long as `self` lives, and no thread writes to these numbers now.
        unsafe { std::slice::from_raw_parts(self.start.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn nothing_is_written_outside() {
        let write = |at: usize, len: usize| {
            catch_unwind(|| {
                let mut all = [0.0; 4];
                #[expect(unsafe_code, reason = "the test has one thread")]
                // SAFETY: no other thread writes.
                unsafe {
                    DisjointSlice::new(&mut all[1..3]).write(at, &[1.0; 3][..len]);
                }
                all
            })
        };
        assert_eq!(write(0, 2).ok(), Some([0.0, 1.0, 1.0, 0.0]));
        assert_eq!(write(2, 0).ok(), Some([0.0; 4]));
        for (at, len) in [(0, 3), (1, 2), (2, 1), (3, 0), (usize::MAX, 0), (usize::MAX, 1), (usize::MAX, 2)] {
            assert!(write(at, len).is_err(), "{len} at {at}");
        }
    }
}
