//! Parts of one slice, written by several threads.

use std::marker::PhantomData;
use std::ops::Range;

/// A slice of which threads write parts that are not contiguous, as columns of a matrix are.
pub(crate) struct Disjoint<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a raw pointer is not shared by default")]
// SAFETY: all that can be done with it is `part`, whose callers promise that no two threads have the same numbers.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Replaces a part.
    ///
    /// # Safety
    /// No other thread may do so with an overlapping range at the same time.
    ///
    /// # Panics
    /// If the range is outside the slice or of another length than `numbers`.
    #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts only")]
    #[inline(always)]
    pub(crate) unsafe fn write(&self, range: Range<usize>, numbers: &[f32]) {
        assert!(range.end <= self.len && range.len() == numbers.len(), "a part of the slice");
        // SAFETY: inside the slice, which is borrowed for as long as `self` lives; nobody else has this part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), numbers.len()) }
            .copy_from_slice(numbers);
    }
}
