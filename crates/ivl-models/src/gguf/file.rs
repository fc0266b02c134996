//! An opened GGUF model: one file, or the parts of one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::error::GgufError;
use super::header::{Header, TensorEntry, in_file};
use super::metadata::{GgufMetadata, MetadataValue};
use super::parts::{PartName, beside};
use super::tensor_type::GgufType;
use crate::Error;
use crate::mapped_file::MappedFile;

/// A GGUF model whose headers are read; its tensors are in the mapped files.
#[derive(Debug, Clone)]
pub struct Gguf {
    metadata: GgufMetadata,
    files: Vec<Arc<MappedFile>>,
    /// With the file that each is in.
    tensors: BTreeMap<String, (usize, TensorEntry)>,
}

/// A tensor of a GGUF model.
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    /// Its type.
    pub kind: GgufType,
    /// The last dimension is that whose elements are neighbours, as in Hugging Face checkpoints.
    pub shape: &'a [usize],
    /// Its blocks.
    pub bytes: &'a [u8],
}

impl Gguf {
    /// Whether a file has the name of a GGUF file.
    pub fn is_named_so(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    }

    /// Whether a path within a directory or repository is the name of a model: a GGUF file that is not a later part of one, and no
    /// projector of pictures, which lies beside the model that it belongs to.
    pub fn is_model_name(path: &Path) -> bool {
        let is_later = PartName::of(path).is_some_and(|name| name.part > 1);
        Self::is_named_so(path) && !is_later && !path.to_string_lossy().to_lowercase().contains("mmproj")
    }

    /// Opens a file; if it is the first of several parts (`NAME-00001-of-00003.gguf`), all of them.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, [`Error::Gguf`] for one that is not GGUF, is cut short or broken.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Arc::new(MappedFile::open(path)?);
        let header = Header::read(&file)?;
        let parts = split_number(&header.metadata, "split.count")?.unwrap_or(1).max(1);
        let metadata = header.metadata.clone();
        let mut model = Self { metadata, files: Vec::new(), tensors: BTreeMap::new() };
        model.add(file, header.tensors)?;
        if parts > 1 {
            model.add_parts(path, parts)?;
        }
        Ok(model)
    }

    /// Adds every part but the first, which is `path`.
    fn add_parts(&mut self, path: &Path, parts: u64) -> Result<(), Error> {
        let named = PartName::of(path).filter(|name| name.parts == parts);
        let named = named.ok_or_else(|| in_file(path)(GgufError::PartName { parts }))?;
        let number = split_number(&self.metadata, "split.no")?.unwrap_or(0) + 1;
        if (number, named.part) != (1, 1) {
            let first = named.name_of(1);
            return Err(in_file(path)(GgufError::LaterPart { part: number.max(named.part), parts, first }));
        }
        for part in 2..=parts {
            let path = beside(path, &named, part);
            let file = Arc::new(MappedFile::open(&path)?);
            let header = Header::read(&file)?;
            let got = split_number(&header.metadata, "split.no")?.unwrap_or(0) + 1;
            let got_parts = split_number(&header.metadata, "split.count")?.unwrap_or(1);
            if (got, got_parts) != (part, parts) {
                return Err(in_file(&path)(GgufError::WrongPart { got, got_parts, expected: part, parts }));
            }
            self.add(file, header.tensors)?;
        }
        Ok(())
    }

    fn add(&mut self, file: Arc<MappedFile>, tensors: BTreeMap<String, TensorEntry>) -> Result<(), Error> {
        let index = self.files.len();
        for (name, entry) in tensors {
            if self.tensors.contains_key(&name) {
                return Err(in_file(file.path())(GgufError::Duplicate { what: format!("tensor `{name}`") }));
            }
            self.tensors.insert(name, (index, entry));
        }
        self.files.push(file);
        Ok(())
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        self.metadata.path()
    }

    /// All files, in the order of the parts.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path())
    }

    /// The metadata, of the first part.
    pub fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// Names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Option<GgufTensor<'_>> {
        let (file, entry) = self.tensors.get(name)?;
        let bytes = &self.files[*file][entry.bytes.clone()];
        Some(GgufTensor { kind: entry.kind, shape: &entry.shape, bytes })
    }

    /// The files, in the order of the parts.
    pub(crate) fn mapped_files(&self) -> &[Arc<MappedFile>] {
        &self.files
    }

    /// Every tensor with its name and the index of its file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, usize, &TensorEntry)> {
        self.tensors.iter().map(|(name, (file, entry))| (name.as_str(), *file, entry))
    }
}

/// More parts than the names of files can count.
const MOST_PARTS: u64 = 99_999;

/// A number about the parts of a model.
fn split_number(metadata: &GgufMetadata, key: &str) -> Result<Option<u64>, Error> {
    match metadata.get(key) {
        None => Ok(None),
        Some(MetadataValue::Integer(number)) => match u64::try_from(number) {
            Ok(number) if number <= MOST_PARTS => Ok(Some(number)),
            _ => Err(metadata.invalid(key, format!("a whole number up to {MOST_PARTS}"))),
        },
        Some(_) => Err(metadata.invalid(key, format!("a whole number up to {MOST_PARTS}"))),
    }
}
