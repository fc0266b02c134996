//! How the models of one architecture are written in GGUF files, and what the lists of architectures share.

use serde_json::{Map, Value};

use super::hyperparameters::Hyperparameters;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::WeightMap;

/// How the models of one architecture are written.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// The `model_type`s whose models are written so. Files are read as the first, unless `fields` says otherwise.
    pub(crate) model_types: &'static [&'static str],
    /// The class of transformers.
    pub(super) class: &'static str,
    /// Changes the common fields to those of the family.
    pub(super) fields: fn(&Hyperparameters<'_>, &mut Map<String, Value>) -> Result<(), Error>,
    /// Names and layout of the tensors.
    pub(super) weights: fn(&ModelConfig) -> WeightMap,
}

pub(super) fn set(config: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    config.insert(field.to_owned(), value.into());
}

/// Gives a field the name that a family has for it.
pub(super) fn rename(config: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = config.remove(from) {
        config.insert(to.to_owned(), value);
    }
}

pub(super) fn size_of(config: &Map<String, Value>, field: &str) -> usize {
    config.get(field).and_then(Value::as_u64).unwrap_or(1) as usize
}

/// The width of a head, given or derived.
pub(super) fn head_dim(config: &Map<String, Value>) -> usize {
    let derived = size_of(config, "hidden_size") / size_of(config, "num_attention_heads").max(1);
    if config.contains_key("head_dim") { size_of(config, "head_dim") } else { derived.max(1) }
}

/// Rotary positions, the same in all layers.
pub(super) fn rotary(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    let rope = metadata.rope_parameters(head_dim(config))?;
    set(config, "rope_parameters", rope);
    Ok(())
}

/// As [`rotary`], of a family that has another default for the rotated part of a head.
pub(super) fn partly_rotary(
    metadata: &Hyperparameters<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), Error> {
    let width = head_dim(config);
    let mut rope = metadata.rope_parameters(width)?;
    let rotated = metadata.opt_size("rope.dimension_count")?.unwrap_or(width);
    set(&mut rope, "partial_rotary_factor", rotated as f64 / width as f64);
    set(config, "rope_parameters", rope);
    Ok(())
}
