//! The safetensors files of a checkpoint, single or sharded, memory-mapped: a tensor is read when it is loaded.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::other_format::missing;
use crate::families::wrapped::text_tensor;
use crate::files::read_json;
use crate::{Error, FileError};

/// More shards than any checkpoint has.
const MOST_SHARDS: usize = 4096;

/// All tensors of a checkpoint, by name.
#[derive(Debug)]
pub struct TensorFiles {
    shards: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: std::ops::Range<usize>,
}

/// The bytes of one tensor in its file, with the types that a checkpoint may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stored<'a> {
    /// 32-bit floats.
    F32(&'a [u8]),
    /// 16-bit floats.
    F16(&'a [u8]),
    /// Brain floats.
    Bf16(&'a [u8]),
}

impl Stored<'_> {
    /// Element `index`. Bytes need not be aligned.
    ///
    /// # Panics
    /// If the index is outside.
    pub(crate) fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(bytes) => f32::from_le_bytes([0, 1, 2, 3].map(|b| bytes[4 * index + b])),
            Self::F16(bytes) => f16::from_le_bytes([0, 1].map(|b| bytes[2 * index + b])).to_f32(),
            Self::Bf16(bytes) => bf16::from_le_bytes([0, 1].map(|b| bytes[2 * index + b])).to_f32(),
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
        let mut files = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            files.add(path)?;
        }
        Ok(files)
    }

    /// Whether a directory holds such files.
    pub(super) fn are_in(dir: &Path) -> bool {
        ["model.safetensors", "model.safetensors.index.json"].iter().any(|name| dir.join(name).is_file())
    }

    /// Whether two tensors have one shape and the same numbers.
    ///
    /// # Panics
    /// If there is no tensor of either name.
    pub(super) fn are_equal(&self, a: &str, b: &str) -> bool {
        let [x, y] = [a, b].map(|name| &self.tensors[name]);
        let bytes = |entry: &Entry| &self.shards[entry.shard].1[entry.bytes.clone()];
        if x.shape != y.shape || (x.dtype == y.dtype && bytes(x) == bytes(y)) {
            return x.shape == y.shape;
        }
        match (self.tensor(a), self.tensor(b)) {
            (Ok(first), Ok(second)) if x.dtype != y.dtype => {
                (0..x.shape.iter().product()).all(|index| first.get(index) == second.get(index))
            }
            _ => false,
        }
    }

    /// Opens one file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_file(path: &Path) -> Result<Self, Error> {
        let mut files = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        files.add(path.to_owned())?;
        Ok(files)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(FileError::io("read", &path))?;
        #[expect(unsafe_code, reason = "mapping is how weights larger than memory are read")]
        // SAFETY: the map is read-only and every access is bounds-checked. Another process may still cut the file short, which
        // raises SIGBUS, or change it, which breaks the rule that the bytes of a `&[u8]` do not change. As every loader that
        // maps weights, ivl accepts that: numbers are read once and any bytes are valid floats, so that the weights would be
        // wrong and nothing else.
        let map = unsafe { Mmap::map(&file) }.map_err(FileError::io("map", &path))?;
        let size = map.len() as u64;
        let broken = |source| Error::Safetensors { path: path.clone(), size, source };
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(broken)?;
        // Eight bytes before the header hold its length.
        let start = header + 8;
        if start + metadata.data_len() != map.len() {
            return Err(broken(safetensors::SafeTensorError::MetadataIncompleteBuffer));
        }
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let entry = Entry { shard, dtype: info.dtype, shape: info.shape.clone(), bytes };
            self.tensors.insert(text_tensor(&name).into_owned(), entry);
        }
        self.shards.push((path, map));
        Ok(())
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
        self.tensors.values().map(|entry| entry.bytes.len() as u64).sum()
    }

    /// Numbers of elements by stored type.
    pub fn dtypes(&self) -> BTreeMap<String, u64> {
        let mut dtypes = BTreeMap::new();
        for entry in self.tensors.values() {
            *dtypes.entry(format!("{:?}", entry.dtype)).or_default() +=
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
    pub(crate) fn tensor(&self, name: &str) -> Result<Stored<'_>, Error> {
        let entry = &self.tensors[name];
        let (path, map) = &self.shards[entry.shard];
        let bytes = &map[entry.bytes.clone()];
        match entry.dtype {
            Dtype::F32 => Ok(Stored::F32(bytes)),
            Dtype::F16 => Ok(Stored::F16(bytes)),
            Dtype::BF16 => Ok(Stored::Bf16(bytes)),
            other => Err(Error::TensorType {
                path: path.clone(),
                tensor: name.to_owned(),
                got: format!("{other:?}"),
            }),
        }
    }
}

impl TensorFiles {
    /// Gives back the memory that reading a tensor took; a second read loads it from its file.
    ///
    /// # Panics
    /// If there is no tensor of this name.
    pub(crate) fn release(&self, name: &str) {
        let entry = &self.tensors[name];
        #[cfg(unix)]
        {
            let map = &self.shards[entry.shard].1;
            #[expect(
                unsafe_code,
                reason = "dropping pages of a private map whose contents would be lost is unsafe"
            )]
            // SAFETY: the map is read-only, so its pages hold nothing but the file, from which they come again.
            let advised = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    entry.bytes.start,
                    entry.bytes.len(),
                )
            };
            // Advice that is not taken costs memory, not correctness.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = entry;
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
