//! Buffers in large pages.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::cpu::CACHE_LINE;

/// Bytes from which on a buffer has pages of its own. A smaller one has no room for a large page, but may share one with others on
/// the heap, if the program's allocator has large pages.
const OWN_PAGES: usize = 8 << 20;

/// Numbers that begin at a line of the cache. Where the system can, they lie in pages of megabytes: a product reads gigabytes a
/// second, and each page costs a look-up.
#[derive(Debug)]
pub(crate) struct PagedBuffer<T> {
    memory: Memory,
    kind: PhantomData<T>,
}

#[derive(Debug)]
enum Memory {
    Pages(MmapMut),
    /// So many bytes from the first line on.
    Heap {
        bytes: Vec<u8>,
        first: usize,
        len: usize,
    },
}

impl<T: Pod> PagedBuffer<T> {
    /// # Panics
    /// If the system has no memory, as every allocation does.
    pub(crate) fn zeroed(len: usize) -> Self {
        let len = len * size_of::<T>();
        if len < OWN_PAGES {
            let bytes = vec![0; len + CACHE_LINE];
            let first = (bytes.as_ptr() as usize).wrapping_neg() % CACHE_LINE;
            return Self { memory: Memory::Heap { bytes, first, len }, kind: PhantomData };
        }
        let pages = MmapMut::map_anon(len).expect("memory for weights");
        #[cfg(target_os = "linux")]
        let _small_pages_do_as_well = pages.advise(memmap2::Advice::HugePage);
        Self { memory: Memory::Pages(pages), kind: PhantomData }
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

    #[inline(always)]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(match &self.memory {
            Memory::Pages(pages) => &pages[..],
            Memory::Heap { bytes, first, len } => &bytes[*first..*first + *len],
        })
    }
}

impl<T: Pod> DerefMut for PagedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(match &mut self.memory {
            Memory::Pages(pages) => &mut pages[..],
            Memory::Heap { bytes, first, len } => &mut bytes[*first..*first + *len],
        })
    }
}
