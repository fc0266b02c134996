//! The files with the tensors of a checkpoint, memory-mapped: a tensor is read when it is loaded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;

use super::other_format::missing;
use super::shard_index::ShardIndex;
use super::stored_tensor::{StoredTensor, StoredType};
use super::tensor_entry::{FileTensor, NumberPlaces, Place, StoredKind};
use crate::Error;
use crate::families::wrapped::text_tensor;
use crate::gguf::{Gguf, TensorEntry as GgufEntry};
use crate::mapped_file::MappedFile;
use crate::pytorch::{PickledTensor, read_tensors};
use crate::quantization::QuantizedMatrix;

/// The names of weights, each the beginning of the name of an index of several files; the first that is there is read.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Numbers of two tensors that are compared at once.
const COMPARED: usize = 1024;

/// All tensors of a checkpoint, by name: those of safetensors files or of files that PyTorch wrote, single or sharded,
/// or of a GGUF model.
#[derive(Debug)]
pub struct TensorFiles {
    /// The directory or file, for errors.
    pub(super) path: PathBuf,
    pub(super) files: Vec<Arc<MappedFile>>,
    pub(super) tensors: BTreeMap<String, FileTensor>,
}

impl TensorFiles {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and checks every header. Without them, the
    /// same of `pytorch_model.bin`, of which no instruction is run.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] or [`Error::OtherFormat`] if there is neither, [`Error::ShardName`] for a shard outside the directory,
    /// [`Error::Safetensors`] or [`Error::Pytorch`] for a file that is cut short or has a broken header, [`Error::DuplicateTensor`] for two tensors of one
    /// name.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let mut files = Self::empty(dir);
        for name in WEIGHTS {
            let (single, index) = (dir.join(name), dir.join(format!("{name}.index.json")));
            if single.is_file() {
                files.add(&single, |_| true)?;
                return Ok(files);
            }
            if index.is_file() {
                let index = ShardIndex::read(&index)?;
                for shard in index.shards() {
                    files.add(&dir.join(shard), |name| index.is_in(name, shard))?;
                }
                return Ok(files);
            }
        }
        Err(missing(dir, WEIGHTS[0]))
    }

    fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new() }
    }

    /// The tensors of a GGUF model, with the names that they have there.
    pub(super) fn from_gguf(gguf: &Gguf) -> Self {
        let entry = |(name, file, tensor): (&str, usize, &GgufEntry)| {
            let place = Place { file, bytes: tensor.bytes.clone() };
            let numbers = NumberPlaces::Plain(StoredKind::Gguf(tensor.kind), place);
            let entry = FileTensor { shape: tensor.shape.clone(), stored_name: name.to_owned(), numbers };
            (name.to_owned(), entry)
        };
        let (files, tensors) = (gguf.mapped_files().to_vec(), gguf.entries().map(entry).collect());
        Self { path: gguf.path().to_owned(), files, tensors }
    }

    /// Whether a directory holds weights in Hugging Face layout.
    pub(super) fn are_in(dir: &Path) -> bool {
        WEIGHTS
            .iter()
            .any(|name| dir.join(name).is_file() || dir.join(format!("{name}.index.json")).is_file())
    }

    /// Whether two tensors have one shape and the same numbers.
    ///
    /// # Panics
    /// If there is no tensor of either name.
    pub(super) fn are_equal(&self, a: &str, b: &str) -> bool {
        let [x, y] = [a, b].map(|name| &self.tensors[name]);
        if x.shape != y.shape {
            return false;
        }
        let kinds = [x, y].map(|entry| entry.plain().map(|(kind, _)| kind));
        if kinds[0] == kinds[1] && x.places().zip(y.places()).all(|(a, b)| self.bytes(a) == self.bytes(b)) {
            return true;
        }
        match (self.tensor(a), self.tensor(b)) {
            (Ok(first), Ok(second)) if kinds[0] != kinds[1] => {
                let len: usize = x.shape.iter().product();
                let mut numbers = [[0f32; COMPARED]; 2];
                (0..len).step_by(COMPARED).all(|at| {
                    let count = COMPARED.min(len - at);
                    let [one, other] = &mut numbers;
                    first.read(at, &mut one[..count]);
                    second.read(at, &mut other[..count]);
                    one[..count] == other[..count]
                })
            }
            _ => false,
        }
    }

    /// Opens one file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_file(path: &Path) -> Result<Self, Error> {
        let mut files = Self::empty(path);
        files.add(path, |_| true)?;
        Ok(files)
    }

    /// Opens a file and adds those of its tensors that are `wanted`.
    fn add(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        match path.extension().is_some_and(|extension| extension == "bin") {
            true => self.add_pytorch(path, wanted),
            false => self.add_safetensors(path, wanted),
        }
    }

    fn add_pytorch(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        let map = MappedFile::open(path)?;
        let broken = |source| Error::Pytorch { path: path.to_owned(), source };
        let file = self.files.len();
        for tensor in read_tensors(&map).map_err(broken)?.into_iter().filter(|tensor| wanted(&tensor.name)) {
            let PickledTensor { name, dtype, shape, bytes } = tensor;
            let numbers = NumberPlaces::Plain(StoredKind::Element(dtype), Place { file, bytes });
            self.insert(FileTensor { shape, stored_name: name, numbers })?;
        }
        self.files.push(Arc::new(map));
        Ok(())
    }

    fn add_safetensors(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        let map = MappedFile::open(path)?;
        let size = map.len() as u64;
        let broken = |source| Error::Safetensors { path: path.to_owned(), size, source };
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(broken)?;
        // Eight bytes before the header hold its length.
        let start = header + 8;
        if start + metadata.data_len() != map.len() {
            return Err(broken(safetensors::SafeTensorError::MetadataIncompleteBuffer));
        }
        let file = self.files.len();
        for (name, info) in metadata.tensors().into_iter().filter(|(name, _)| wanted(name)) {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let numbers = NumberPlaces::Plain(StoredKind::Element(info.dtype), Place { file, bytes });
            self.insert(FileTensor { shape: info.shape.clone(), stored_name: name, numbers })?;
        }
        self.files.push(Arc::new(map));
        Ok(())
    }

    /// Adds a tensor under the name that it has in a language model of its own.
    ///
    /// # Errors
    /// [`Error::DuplicateTensor`] if there is one of this name.
    fn insert(&mut self, entry: FileTensor) -> Result<(), Error> {
        match self.tensors.entry(text_tensor(&entry.stored_name).into_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Ok(())
            }
            Entry::Occupied(first) => Err(Error::DuplicateTensor {
                path: self.path.clone(),
                tensor: first.key().clone(),
                first: first.get().stored_name.clone(),
                second: entry.stored_name,
            }),
        }
    }

    /// Names of all tensors, sorted. Those of a language model inside another model are as they are without it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Bytes of all tensors.
    pub fn size(&self) -> u64 {
        self.tensors.values().flat_map(FileTensor::places).map(|place| place.bytes.len() as u64).sum()
    }

    /// Whether some matrix is stored in blocks, of which kernels of the CPU form products.
    pub fn has_blocks(&self) -> bool {
        let is_block = |(kind, _): (StoredKind, _)| matches!(kind.stored(), Some(StoredType::Blocks(_)));
        self.tensors.values().filter_map(FileTensor::plain).any(is_block)
    }

    /// Numbers of elements by stored type.
    pub fn dtypes(&self) -> BTreeMap<String, u64> {
        let mut dtypes = BTreeMap::new();
        for entry in self.tensors.values() {
            let kind = entry.plain().map_or("quantised".to_owned(), |(kind, _)| kind.to_string());
            *dtypes.entry(kind).or_default() += entry.shape.iter().product::<usize>() as u64;
        }
        dtypes
    }

    /// The bytes at a place.
    pub(super) fn bytes(&self, place: &Place) -> &[u8] {
        &self.files[place.file][place.bytes.clone()]
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// [`Error::TensorType`] if it is not made of floats that models use.
    ///
    /// # Panics
    /// If there is no tensor of this name.
    pub(crate) fn tensor(&self, name: &str) -> Result<StoredTensor<'_>, Error> {
        let (kind, place) = match &self.tensors[name].numbers {
            NumberPlaces::Plain(kind, place) => (kind, place),
            NumberPlaces::Quantized { layout, codes, scales, zeros } => {
                let zeros = zeros.as_ref().map(|place| self.bytes(place));
                let matrix = QuantizedMatrix::new(layout, self.bytes(codes), self.bytes(scales), zeros);
                return Ok(StoredTensor::Quantized(matrix));
            }
        };
        let stored = kind.stored().map(|kind| StoredTensor::Plain(self.bytes(place), kind));
        stored.ok_or_else(|| Error::TensorType {
            path: self.files[place.file].path().to_owned(),
            tensor: name.to_owned(),
            got: kind.to_string(),
            expected: kind.expected(),
        })
    }

    /// Gives back the memory that reading a tensor took; a second read loads it from its file.
    ///
    /// # Panics
    /// If there is no tensor of this name.
    pub(crate) fn release(&self, name: &str) {
        for place in self.tensors[name].places() {
            self.files[place.file].release(place.bytes.clone());
        }
    }
}
