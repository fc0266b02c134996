//! Writing a GGUF file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::header::{ALIGNMENT, MAGIC, VERSION};
use super::metadata_writer::{MetadataWriter, put_text};
use super::tensor_type::GgufType;
use crate::FileError;
use crate::files::write_whole;

/// A tensor that is written.
#[derive(Debug, Clone)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// Its type, of whose blocks every row is a whole number.
    pub kind: GgufType,
    /// The last dimension is that whose elements are neighbours.
    pub shape: Vec<usize>,
}

impl NewTensor {
    /// Bytes of its blocks.
    pub fn size(&self) -> usize {
        self.shape.iter().product::<usize>() / self.kind.block_elements() * self.kind.block_bytes()
    }
}

/// Writes a file, whole or not at all. `write` gives the bytes of each tensor in turn, by its index; `check` looks at the file
/// before it gets its name.
///
/// # Errors
/// [`FileError::Io`], also that of `write` and `check`.
pub fn write_gguf(
    path: &Path,
    metadata: &MetadataWriter,
    tensors: &[NewTensor],
    mut write: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
    check: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), FileError> {
    write_whole(path, |partial| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(partial)?);
        let header = header(metadata, tensors);
        file.write_all(&header)?;
        pad(&mut file, header.len())?;
        for (index, tensor) in tensors.iter().enumerate() {
            write(index, &mut file)?;
            pad(&mut file, tensor.size())?;
        }
        file.flush()?;
        check(partial)
    })
}

/// Everything before the bytes of the tensors.
fn header(metadata: &MetadataWriter, tensors: &[NewTensor]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(metadata.count().to_le_bytes());
    header.extend(metadata.bytes());
    let mut offset = 0u64;
    for tensor in tensors {
        put_text(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend(tensor.kind.id().to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += tensor.size().next_multiple_of(ALIGNMENT) as u64;
    }
    header
}

/// Zeros up to the next multiple of the alignment, after `len` bytes.
fn pad(file: &mut impl Write, len: usize) -> io::Result<()> {
    file.write_all(&[0; ALIGNMENT][..len.next_multiple_of(ALIGNMENT) - len])
}
