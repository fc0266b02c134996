//! A file that is mapped into memory: its bytes are read when they are used.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::FileError;

/// The bytes of a file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::io("read", path))?;
        #[expect(unsafe_code, reason = "mapping is how weights larger than memory are read")]
        // SAFETY: the map is read-only and every access is bounds-checked. Another process may still cut the file short, which
        // raises SIGBUS, or change it, which breaks the rule that the bytes of a `&[u8]` do not change. As every loader that
        // maps weights, ivl accepts that: numbers are read once and any bytes are valid numbers, so that the weights would be
        // wrong and nothing else.
        let map = unsafe { Mmap::map(&file) }.map_err(FileError::io("map", path))?;
        Ok(Self { path: path.to_owned(), map })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives back the memory that reading `bytes` took; a second read loads them from the file.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        {
            #[expect(
                unsafe_code,
                reason = "dropping pages of a private map whose contents would be lost is unsafe"
            )]
            // SAFETY: the map is read-only, so its pages hold nothing but the file, from which they come again.
            let advised = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len())
            };
            // Advice that is not taken costs memory, not correctness.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
