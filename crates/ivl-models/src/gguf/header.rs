//! The header of one file: everything before the bytes of the tensors, checked before it is used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::cursor::Cursor;
use super::error::GgufError;
use super::metadata::{Entry, GgufMetadata, LONGEST_KEY, MetadataValue};
use super::tensor_type::GgufType;
use crate::Error;
use crate::mapped_file::MappedFile;

/// The first bytes of every file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// The version that is written; 2 has the same layout.
pub(super) const VERSION: u32 = 3;

/// Multiple at which the bytes of tensors begin, unless the metadata says otherwise.
pub(super) const ALIGNMENT: usize = 32;

/// More keys and more tensors than any model has.
const MOST_KEYS: u64 = 1 << 16;
const MOST_TENSORS: u64 = 1 << 17;

const LONGEST_TENSOR_NAME: u64 = 1024;
const MOST_DIMENSIONS: u32 = 4;
const LARGEST_ALIGNMENT: usize = 1 << 20;

/// More elements than any tensor has: products of two sizes below stay far from overflow.
const MOST_ELEMENTS: u64 = 1 << 48;

/// A tensor of one file.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) kind: GgufType,
    /// The last dimension is that whose elements are neighbours, as in Hugging Face checkpoints; in the file it is the first.
    pub(crate) shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub(crate) bytes: Range<usize>,
}

/// What the header of a file says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: GgufMetadata,
    pub(super) tensors: BTreeMap<String, TensorEntry>,
}

/// The error around a [`GgufError`].
pub(super) fn in_file(path: &Path) -> impl FnOnce(GgufError) -> Error {
    let path = path.to_owned();
    move |source| Error::Gguf { path, source }
}

impl Header {
    /// Reads and checks the header of a file. Memory is bounded by the file's size.
    ///
    /// # Errors
    /// [`Error::Gguf`].
    pub(super) fn read(file: &Arc<MappedFile>) -> Result<Self, Error> {
        read(file).map_err(in_file(file.path()))
    }
}

fn read(file: &Arc<MappedFile>) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(file);
    check_version(&mut cursor)?;
    let tensors = count(&mut cursor, "the number of tensors", MOST_TENSORS)?;
    let keys = count(&mut cursor, "the number of metadata keys", MOST_KEYS)?;
    let mut entries = BTreeMap::new();
    for _ in 0..keys {
        let key = cursor.text(LONGEST_KEY, &|| "a key of the metadata".to_owned())?.to_owned();
        let entry = Entry::read(&mut cursor, &key)?;
        if entries.insert(key.clone(), entry).is_some() {
            return Err(GgufError::Duplicate { what: format!("the metadata `{key}`") });
        }
    }
    let metadata = GgufMetadata::new(file.clone(), entries);
    let alignment = alignment(&metadata)?;
    let listed: Vec<Listed> =
        (0..tensors).map(|_| Listed::read(&mut cursor, alignment)).collect::<Result<_, _>>()?;
    let start = cursor.position().next_multiple_of(alignment);
    Ok(Header { metadata, tensors: place(listed, start, file.len())? })
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), GgufError> {
    let magic = cursor.take(4, &|| "the magic".to_owned())?;
    if magic != MAGIC {
        return Err(GgufError::Magic { got: String::from_utf8_lossy(magic).into_owned() });
    }
    match cursor.u32(&|| "the version".to_owned())? {
        2 | VERSION => Ok(()),
        got if matches!(got.swap_bytes(), 1..=VERSION) => Err(GgufError::BigEndian),
        got => Err(GgufError::Version { got }),
    }
}

fn count(cursor: &mut Cursor<'_>, what: &str, limit: u64) -> Result<u64, GgufError> {
    match cursor.u64(&|| what.to_owned())? {
        got if got <= limit => Ok(got),
        got => Err(GgufError::TooMany { what: what.to_owned(), got, limit }),
    }
}

fn alignment(metadata: &GgufMetadata) -> Result<usize, GgufError> {
    let key = "general.alignment";
    match metadata.get(key) {
        None => Ok(ALIGNMENT),
        Some(MetadataValue::Integer(got))
            if (1..=LARGEST_ALIGNMENT as i128).contains(&got) && (got as usize).is_power_of_two() =>
        {
            Ok(got as usize)
        }
        Some(got) => {
            let got =
                if let MetadataValue::Integer(got) = got { got.to_string() } else { "no number".to_owned() };
            Err(GgufError::Alignment { got, limit: LARGEST_ALIGNMENT })
        }
    }
}

/// A tensor as the table has it.
struct Listed {
    name: String,
    kind: GgufType,
    shape: Vec<usize>,
    offset: u64,
    bytes: u64,
}

impl Listed {
    fn read(cursor: &mut Cursor<'_>, alignment: usize) -> Result<Self, GgufError> {
        let name = cursor.text(LONGEST_TENSOR_NAME, &|| "the name of a tensor".to_owned())?.to_owned();
        let what = || format!("the entry of tensor `{name}`");
        let count = cursor.u32(&what)?;
        if count > MOST_DIMENSIONS {
            let what = format!("the number of dimensions of tensor `{name}`");
            return Err(GgufError::TooMany { what, got: count.into(), limit: MOST_DIMENSIONS.into() });
        }
        let dimensions: Vec<u64> = (0..count).map(|_| cursor.u64(&what)).collect::<Result<_, _>>()?;
        let (id, offset) = (cursor.u32(&what)?, cursor.u64(&what)?);
        let kind = GgufType::from_id(id).map_err(|reason| GgufError::TensorType {
            tensor: name.clone(),
            got: id,
            reason,
        })?;
        let elements = elements(&name, &dimensions, kind)?;
        let bytes = elements / kind.block_elements() as u64 * kind.block_bytes() as u64;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::Unaligned { tensor: name, got: offset, alignment });
        }
        let shape = dimensions.iter().rev().map(|&size| size as usize).collect();
        Ok(Self { name, kind, shape, offset, bytes })
    }
}

/// Elements of a tensor, of which every row is a number of whole blocks.
fn elements(name: &str, dimensions: &[u64], kind: GgufType) -> Result<u64, GgufError> {
    let invalid = |expected: String| GgufError::Dimensions {
        tensor: name.to_owned(),
        got: dimensions.to_vec(),
        expected,
    };
    if dimensions.contains(&0) {
        return Err(invalid("sizes above 0".to_owned()));
    }
    let product = dimensions.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let Some(elements) = product.filter(|&elements| elements <= MOST_ELEMENTS) else {
        return Err(invalid(format!("at most {MOST_ELEMENTS} elements")));
    };
    let block = kind.block_elements() as u64;
    if !dimensions.first().copied().unwrap_or(1).is_multiple_of(block) {
        return Err(invalid(format!("a first dimension that is a multiple of {block}, the block of {kind}")));
    }
    Ok(elements)
}

/// Finds the bytes of every tensor behind `start` in a file of `len` bytes.
fn place(listed: Vec<Listed>, start: usize, len: usize) -> Result<BTreeMap<String, TensorEntry>, GgufError> {
    let mut ends: Vec<(u64, u64, &str)> =
        listed.iter().map(|tensor| (tensor.offset, tensor.bytes, tensor.name.as_str())).collect();
    ends.sort_unstable();
    for pair in ends.windows(2) {
        let [(offset, bytes, first), (next, _, second)] = [pair[0], pair[1]];
        if next - offset < bytes {
            return Err(GgufError::Overlap { first: first.to_owned(), second: second.to_owned() });
        }
    }
    let left = len.saturating_sub(start);
    let mut tensors = BTreeMap::new();
    for Listed { name, kind, shape, offset, bytes } in listed {
        if offset.checked_add(bytes).is_none_or(|end| end > left as u64) {
            let at = start.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX));
            let left = len.saturating_sub(at);
            return Err(GgufError::CutShort { what: format!("tensor `{name}`"), at, needed: bytes, left });
        }
        let begin = start + offset as usize;
        let entry = TensorEntry { kind, shape, bytes: begin..begin + bytes as usize };
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(GgufError::Duplicate { what: format!("tensor `{name}`") });
        }
    }
    Ok(tensors)
}
