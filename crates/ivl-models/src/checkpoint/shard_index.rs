//! The index of a checkpoint whose tensors are in several files.

use std::collections::HashMap;
use std::path::{Component, Path};

use serde_json::{Map, Value};

use crate::Error;
use crate::files::read_json;

/// More shards than any checkpoint has.
const MOST_SHARDS: usize = 4096;

/// Which file each tensor is in.
#[derive(Debug)]
pub(super) struct ShardIndex {
    /// The files, each once.
    shards: Vec<String>,
    /// The index of the file of each tensor.
    files: HashMap<String, usize>,
}

impl ShardIndex {
    /// Reads `weight_map` of an index.
    ///
    /// # Errors
    /// [`Error::ShardName`] for files outside of the directory, [`Error::MissingField`] without a map, and [`Error::File`].
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let json: Map<String, Value> = read_json(path)?;
        let map = json.get("weight_map").and_then(Value::as_object);
        let Some(map) = map else {
            return Err(Error::MissingField { path: path.to_owned(), field: "weight_map".to_owned() });
        };
        let (mut shards, mut files): (Vec<String>, _) = (Vec::new(), HashMap::with_capacity(map.len()));
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (tensor, name) in map {
            let plain = name.as_str().filter(|name| {
                let mut parts = Path::new(name).components();
                matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
            });
            let Some(plain) = plain else {
                return Err(Error::ShardName { path: path.to_owned(), name: name.to_string() });
            };
            let file = *known.entry(plain).or_insert_with(|| {
                shards.push(plain.to_owned());
                shards.len() - 1
            });
            if shards.len() > MOST_SHARDS {
                let name = format!("{plain} (shard {})", shards.len());
                return Err(Error::ShardName { path: path.to_owned(), name });
            }
            files.insert(tensor.clone(), file);
        }
        Ok(Self { shards, files })
    }

    /// The files.
    pub(super) fn shards(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().map(String::as_str)
    }

    /// Whether a tensor of the file `shard` is meant: the index says that it is in this file, or does not know it.
    pub(super) fn is_in(&self, tensor: &str, shard: &str) -> bool {
        self.files.get(tensor).is_none_or(|&file| self.shards[file] == shard)
    }
}
