//! The files with the tensors of a checkpoint, memory-mapped: a tensor is read when it is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::other_format::missing;
use super::stored_tensor::{StoredTensor, StoredType};
use crate::Error;
use crate::files::read_json;
use crate::gguf::{Gguf, GgufType, TensorEntry};
use crate::mapped_file::MappedFile;

/// More shards than any checkpoint has.
const MOST_SHARDS: usize = 4096;

/// Numbers of two tensors that are compared at once.
const COMPARED: usize = 1024;

/// All tensors of a checkpoint, by name: those of safetensors files, single or sharded, or of a GGUF model.
#[derive(Debug)]
pub struct TensorFiles {
    files: Vec<Arc<MappedFile>>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    kind: Kind,
    shape: Vec<usize>,
    bytes: std::ops::Range<usize>,
}

/// The type of a tensor in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Safetensors(Dtype),
    Gguf(GgufType),
}

impl Kind {
    /// How its numbers are read, if it is made of numbers that models use.
    fn stored(self) -> Option<StoredType> {
        match self {
            Self::Safetensors(Dtype::F32) => Some(StoredType::F32),
            Self::Safetensors(Dtype::F16) => Some(StoredType::F16),
            Self::Safetensors(Dtype::BF16) => Some(StoredType::Bf16),
            Self::Safetensors(_) => None,
            Self::Gguf(kind) => StoredType::of_gguf(kind),
        }
    }

    /// The types that are read, in an error.
    fn expected(self) -> String {
        match self {
            Self::Safetensors(_) => "F32, F16 or BF16".to_owned(),
            Self::Gguf(_) => {
                let names = StoredType::of_gguf_names();
                format!(
                    "one of {names}; use another file of the model, or make one with llama-quantize of llama.cpp"
                )
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors(dtype) => write!(f, "{dtype:?}"),
            Self::Gguf(kind) => write!(f, "{kind}"),
        }
    }
}

impl TensorFiles {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and checks every header.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] or [`Error::OtherFormat`] if there is neither, [`Error::ShardName`] for a shard outside the directory,
    /// [`Error::Safetensors`] for a file that is cut short or has a broken header.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        let paths = if single.is_file() {
            vec![single]
        } else if index.is_file() {
            shard_paths(dir, &index)?
        } else {
            return Err(missing(dir, "model.safetensors"));
        };
        let mut files = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            files.add(path)?;
        }
        Ok(files)
    }

    /// The tensors of a GGUF model, with the names that they have there.
    pub(super) fn from_gguf(gguf: &Gguf) -> Self {
        let entry = |(name, file, tensor): (&str, usize, &TensorEntry)| {
            let (kind, shape) = (Kind::Gguf(tensor.kind), tensor.shape.clone());
            (name.to_owned(), Entry { file, kind, shape, bytes: tensor.bytes.clone() })
        };
        Self { files: gguf.mapped_files().to_vec(), tensors: gguf.entries().map(entry).collect() }
    }

    /// Whether a directory holds safetensors files.
    pub(super) fn are_in(dir: &Path) -> bool {
        ["model.safetensors", "model.safetensors.index.json"].iter().any(|name| dir.join(name).is_file())
    }

    /// Whether two tensors have one shape and the same numbers.
    ///
    /// # Panics
    /// If there is no tensor of either name.
    pub(super) fn are_equal(&self, a: &str, b: &str) -> bool {
        let [x, y] = [a, b].map(|name| &self.tensors[name]);
        let bytes = |entry: &Entry| &self.files[entry.file][entry.bytes.clone()];
        if x.shape != y.shape || (x.kind == y.kind && bytes(x) == bytes(y)) {
            return x.shape == y.shape;
        }
        match (self.tensor(a), self.tensor(b)) {
            (Ok(first), Ok(second)) if x.kind != y.kind => {
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
        let mut files = Self { files: Vec::new(), tensors: BTreeMap::new() };
        files.add(path.to_owned())?;
        Ok(files)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let map = MappedFile::open(&path)?;
        let size = map.len() as u64;
        let broken = |source| Error::Safetensors { path: path.clone(), size, source };
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(broken)?;
        // Eight bytes before the header hold its length.
        let start = header + 8;
        if start + metadata.data_len() != map.len() {
            return Err(broken(safetensors::SafeTensorError::MetadataIncompleteBuffer));
        }
        let file = self.files.len();
        for (name, info) in metadata.tensors() {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let kind = Kind::Safetensors(info.dtype);
            self.tensors.insert(name, Entry { file, kind, shape: info.shape.clone(), bytes });
        }
        self.files.push(Arc::new(map));
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Bytes of all tensors.
    pub fn size(&self) -> u64 {
        self.tensors.values().map(|entry| entry.bytes.len() as u64).sum()
    }

    /// Numbers of elements by stored type.
    pub fn dtypes(&self) -> BTreeMap<String, u64> {
        let mut dtypes = BTreeMap::new();
        for entry in self.tensors.values() {
            *dtypes.entry(entry.kind.to_string()).or_default() +=
                entry.shape.iter().product::<usize>() as u64;
        }
        dtypes
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// [`Error::TensorType`] if it is not made of floats that models use.
    ///
    /// # Panics
    /// If there is no tensor of this name.
    pub(crate) fn tensor(&self, name: &str) -> Result<StoredTensor<'_>, Error> {
        let entry = &self.tensors[name];
        let file = &self.files[entry.file];
        let bytes = &file[entry.bytes.clone()];
        entry.kind.stored().map(|kind| StoredTensor::new(bytes, kind)).ok_or_else(|| Error::TensorType {
            path: file.path().to_owned(),
            tensor: name.to_owned(),
            got: entry.kind.to_string(),
            expected: entry.kind.expected(),
        })
    }
}

impl TensorFiles {
    /// Gives back the memory that reading a tensor took; a second read loads it from its file.
    ///
    /// # Panics
    /// If there is no tensor of this name.
    pub(crate) fn release(&self, name: &str) {
        let entry = &self.tensors[name];
        self.files[entry.file].release(entry.bytes.clone());
    }
}

fn shard_paths(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, Error> {
    let json: Map<String, Value> = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let Some(map) = map else {
        return Err(Error::MissingField { path: index.to_owned(), field: "weight_map".to_owned() });
    };
    let mut names: Vec<&str> = Vec::new();
    for name in map.values() {
        let plain = name.as_str().filter(|name| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None))
        });
        let Some(plain) = plain else {
            return Err(Error::ShardName { path: index.to_owned(), name: name.to_string() });
        };
        if !names.contains(&plain) {
            names.push(plain);
        }
        if names.len() > MOST_SHARDS {
            return Err(Error::ShardName {
                path: index.to_owned(),
                name: format!("{plain} (shard {})", names.len()),
            });
        }
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}
