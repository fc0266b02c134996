//! The identity of a model: digests of everything that determines its answers, which a log of samples is checked by.

use std::path::Path;

use ivl_models::{CheckpointFile, FileKind};
use serde_json::{Value, json};

use super::Model;
use crate::digest::{hash_weights, sha256};
use crate::error::Result;
use crate::hub::resolve;
use crate::kv_cache::KvCacheDtype;

impl Model {
    /// Digests of weights and configurations, weights of the values, maps, and the type that the models compute in.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for weights that cannot be read.
    pub fn identity(&self) -> Result<Value> {
        let mut values = Vec::with_capacity(self.values.len());
        let mut maps: Vec<&String> = Vec::new();
        let mut byte_fusion = None;
        for value in &self.values {
            let mut identity = checkpoint_identity(value.path())?;
            identity["alpha"] = json!(value.alpha);
            identity["connection"] = json!(format!("{:?}", value.connection));
            // Logs of earlier versions name neither gates nor differences.
            if let Some(gate) = value.gate() {
                identity["gate"] = json!([gate.weights(), gate.bias()]);
            }
            if value.attach.adapter_difference {
                identity["adapter_difference"] = json!(true);
            }
            values.push(identity);
            maps.extend(value.attach.maps.iter().filter(|map| !maps.contains(map)).collect::<Vec<_>>());
            if let Some(reference) = &value.attach.byte_fusion {
                let config = value.attach.byte_fusion_config;
                let mut identity = checkpoint_identity(&resolve(reference)?)?;
                identity["unseen"] = json!(config.unseen);
                identity["branches"] = json!(config.branches);
                byte_fusion = Some(identity);
            }
        }
        let mut identity = json!({
            "base": checkpoint_identity(self.base_path())?,
            "values": values,
            "maps": maps.into_iter().map(|map| map_identity(map)).collect::<Vec<_>>(),
            "byte_fusion": byte_fusion,
            "dtype": self.weights_identity(),
        });
        // Logs of earlier versions do not name the type of the cache.
        if self.options.kv_cache_dtype != KvCacheDtype::Auto {
            identity["kv_cache_dtype"] = json!(self.options.kv_cache_dtype.name());
        }
        Ok(identity)
    }

    /// The form of the weights, on each of several devices.
    fn weights_identity(&self) -> String {
        match self.placement.weights().as_slice() {
            [one] => format!("{one:?}"),
            several => format!("{several:?}"),
        }
    }
}

/// Of a map, its bytes; of a method, its name.
fn map_identity(map: &str) -> Value {
    match std::fs::read(map) {
        Ok(bytes) => json!(sha256(&bytes)),
        Err(_) => json!(map),
    }
}

/// Of a checkpoint, what decides its predictions and its tokens; of a GGUF file, its bytes.
fn checkpoint_identity(path: &Path) -> Result<Value> {
    let mut identity = json!({ "weights": hash_weights(path)? });
    for kind in [FileKind::Config, FileKind::Tokenizer] {
        for name in CheckpointFile::of_kind(kind) {
            let digest = std::fs::read(path.join(name)).ok().map(|bytes| sha256(&bytes));
            identity[name.trim_end_matches(".json")] = json!(digest);
        }
    }
    Ok(identity)
}
