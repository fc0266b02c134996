//! Large buffers in large pages.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Numbers that begin at the start of a page. Where the system can, pages are of megabytes: a product reads gigabytes a
/// second, and each page costs a look-up.
#[derive(Debug)]
pub(crate) struct PagedBuffer<T> {
    pages: Option<MmapMut>,
    kind: PhantomData<T>,
}

impl<T: Pod> PagedBuffer<T> {
    /// # Panics
    /// If the system has no memory, as every allocation does.
    pub(crate) fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self { pages: None, kind: PhantomData };
        }
        let pages = MmapMut::map_anon(len * size_of::<T>()).expect("memory for weights");
        #[cfg(target_os = "linux")]
        let _small_pages_do_as_well = pages.advise(memmap2::Advice::HugePage);
        Self { pages: Some(pages), kind: PhantomData }
    }

    /// # Panics
    /// If the system has no memory, as every allocation does; or if there are not `len` numbers.
    pub(crate) fn filled(len: usize, numbers: impl Iterator<Item = T>) -> Self {
        let mut buffer = Self::zeroed(len);
        let mut rest = buffer.iter_mut();
        numbers.for_each(|number| *rest.next().expect("room for every number") = number);
        assert!(rest.next().is_none(), "a number for every place");
        buffer
    }
}

impl<T: Pod> Deref for PagedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.pages.as_deref().map_or(&[], bytemuck::cast_slice)
    }
}

impl<T: Pod> DerefMut for PagedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.pages.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut)
    }
}
