//! Parts of one slice, written by several threads.

use std::marker::PhantomData;

/// A slice of which threads write parts that are not contiguous, as columns of a matrix are.
pub(crate) struct DisjointSlice<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a raw pointer is not shared by default")]
// SAFETY: all that can be done with it is `write`, whose callers promise that no two threads write the same numbers.
unsafe impl Sync for DisjointSlice<'_> {}

impl<'a> DisjointSlice<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The room for the first `len` numbers of an empty vector, without zeros that would be overwritten.
    ///
    /// # Panics
    /// If the vector has no such room, or is not empty.
    pub(crate) fn room(numbers: &'a mut Vec<f32>, len: usize) -> Self {
        assert!(numbers.is_empty(), "an empty vector");
        let room = &mut numbers.spare_capacity_mut()[..len];
        Self { start: room.as_mut_ptr().cast(), len, slice: PhantomData }
    }

    /// Puts `numbers` at `at`.
    ///
    /// # Safety
    /// No other thread may write to the same place at the same time.
    ///
    /// # Panics
    /// If there is no room for them.
    #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts only")]
    #[inline(always)]
    pub(crate) unsafe fn write(&self, at: usize, numbers: &[f32]) {
        assert!(at <= self.len && numbers.len() <= self.len - at, "a part of the slice");
        // SAFETY: inside the slice, which is borrowed for as long as `self` lives; no other reference to this part exists. Nothing is read
        // there, so that it may be uninitialised.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.start.add(at), numbers.len()) };
    }
}

impl DisjointSlice<'_> {
    /// The `len` numbers at `at`.
    ///
    /// # Safety
    /// They were written, and no other thread may write to them while the reference lives.
    ///
    /// # Panics
    /// If they are not inside.
    #[expect(unsafe_code, reason = "the borrow checker knows contiguous parts only")]
    #[inline(always)]
    pub(crate) unsafe fn read(&self, at: usize, len: usize) -> &[f32] {
        assert!(at <= self.len && len <= self.len - at, "a part of the slice");
        // SAFETY: inside the slice, which is borrowed for as long as `self` lives; it was written, and no thread writes now.
        unsafe { std::slice::from_raw_parts(self.start.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_vector_has_its_room_and_no_more() {
        let mut numbers = Vec::with_capacity(4);
        let room = DisjointSlice::room(&mut numbers, 3);
        #[expect(unsafe_code, reason = "the test has one thread, and writes all three")]
        // SAFETY: no other thread writes, and three numbers are written.
        unsafe {
            room.write(1, &[2.0, 3.0]);
            room.write(0, &[1.0]);
            numbers.set_len(3);
        }
        assert_eq!(numbers, [1.0, 2.0, 3.0]);
        let refused = |mut numbers: Vec<f32>, len| {
            catch_unwind(move || DisjointSlice::room(&mut numbers, len).len).is_err()
        };
        assert!(refused(Vec::new(), 1) && refused(vec![0.0], 0) && !refused(Vec::new(), 0));
    }

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
