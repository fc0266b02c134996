//! What decides the answers of a base with its values: what a log of samples is checked by.

use std::path::Path;

use anyhow::Result;
use ivl_models::{CheckpointFile, FileKind};
use serde_json::{Value, json};

use crate::args::{Common, Models};
use crate::compose::value_option;
use crate::device::dtype;
use crate::digest::{hash_weights, sha256};
use crate::hub::resolve;

/// Digests of weights and configurations, alphas, maps, and the type that the models compute in.
pub fn model_identity(models: &Models, common: &Common) -> Result<Value> {
    let values = models.value.iter().map(|value| {
        let value = value_option(value)?;
        let mut identity = directory(&value.dir)?;
        identity["alpha"] = json!(value.alpha);
        identity["connection"] = json!(format!("{:?}", value.connection));
        Ok(identity)
    });
    let vocabularies = &models.vocabularies;
    let maps = vocabularies.map.iter().map(|map| match std::fs::read(map) {
        Ok(bytes) => json!(sha256(&bytes)),
        Err(_) => json!(map),
    });
    let bytes = vocabularies.byte_fusion.as_deref().map(|reference| {
        let mut identity = directory(&resolve(reference)?)?;
        identity["unseen"] = json!(vocabularies.unseen);
        identity["branches"] = json!(vocabularies.branches);
        Ok::<_, anyhow::Error>(identity)
    });
    Ok(json!({
        "base": directory(&resolve(&models.base)?)?,
        "values": values.collect::<Result<Vec<_>>>()?,
        "maps": maps.collect::<Vec<_>>(),
        "byte_fusion": bytes.transpose()?,
        "dtype": format!("{:?}", dtype(common)),
    }))
}

/// Of a checkpoint, what decides its predictions and its tokens.
fn directory(dir: &Path) -> Result<Value> {
    let mut identity = json!({ "weights": hash_weights(dir)? });
    for kind in [FileKind::Config, FileKind::Tokenizer] {
        for name in CheckpointFile::of_kind(kind) {
            let digest = std::fs::read(dir.join(name)).ok().map(|bytes| sha256(&bytes));
            identity[name.trim_end_matches(".json")] = json!(digest);
        }
    }
    Ok(identity)
}
