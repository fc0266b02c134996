//! The table of model families. A family is data: how its `config.json` reads, and what its tensors are called.
//!
//! To add one: a file beside this one with `config` and `weights`, a line in [`FAMILIES`], and a fixture directory.

mod defaults;
mod gemma;
mod gpt2;
mod gpt_neox;
mod llama;
mod phi;
mod phi3;
mod qwen;
mod readers;
mod rope;
pub(crate) mod weight_map;

pub use weight_map::{OutputSlice, Rule, WeightMap};

use serde_json::{Map, Value};
use std::path::Path;

use crate::Error;
use crate::config::ModelConfig;
use crate::fields::Fields;

/// A model family.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Reads a `config.json`.
    pub config: fn(&Fields<'_>) -> Result<ModelConfig, Error>,
    /// Names of the tensors in a checkpoint.
    pub weights: fn(&ModelConfig) -> WeightMap,
}

/// Every family that ivl loads and saves.
pub const FAMILIES: &[Family] = &[
    Family { model_type: "llama", config: llama::config, weights: llama::weights },
    Family { model_type: "mistral", config: llama::mistral, weights: llama::weights },
    Family { model_type: "qwen2", config: qwen::qwen2, weights: llama::weights },
    Family { model_type: "qwen3", config: qwen::qwen3, weights: qwen::weights },
    Family { model_type: "gemma", config: gemma::gemma, weights: llama::weights },
    Family { model_type: "gemma2", config: gemma::gemma2, weights: gemma::gemma2_weights },
    Family { model_type: "gpt_neox", config: gpt_neox::config, weights: gpt_neox::weights },
    Family { model_type: "gpt2", config: gpt2::config, weights: gpt2::weights },
    Family { model_type: "phi", config: phi::config, weights: phi::weights },
    Family { model_type: "phi3", config: phi3::config, weights: phi3::weights },
];

/// The family of a configuration and the shape of its model.
///
/// # Errors
/// [`Error::UnknownArchitecture`] for a `model_type` outside the table, [`Error::MissingField`] or
/// [`Error::InvalidField`] for a field that is absent or means nothing to ivl.
pub fn read_config(json: &Map<String, Value>, path: &Path) -> Result<(&'static Family, ModelConfig), Error> {
    let fields = Fields::new(json, path);
    let Some(model_type) = fields.opt_text("model_type")? else {
        return Err(Error::MissingField { path: path.to_owned(), field: "model_type".to_owned() });
    };
    let Some(family) = FAMILIES.iter().find(|family| family.model_type == model_type) else {
        return Err(Error::UnknownArchitecture {
            path: path.to_owned(),
            field: "model_type",
            got: model_type.to_owned(),
            known: FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", "),
        });
    };
    refuse_unsupported(&fields)?;
    let config = (family.config)(&fields)?;
    check(&config, &fields)?;
    Ok((family, config))
}

/// The names of layer types, the last for `full_attention`.
const LAYER_TYPES: [&str; 3] = ["full_attention", "sliding_attention", "attention"];

fn check(config: &ModelConfig, fields: &Fields<'_>) -> Result<(), Error> {
    let attention = &config.attention;
    if !attention.num_heads.is_multiple_of(attention.num_kv_heads) {
        return Err(
            fields.invalid("num_key_value_heads", format!("a divisor of {} heads", attention.num_heads))
        );
    }
    // Transformers checks the list even of families that read none.
    if let Some(types) = fields.opt_texts("layer_types")? {
        if types.len() != config.layers.len() {
            return Err(fields
                .invalid("layer_types", format!("one entry for each of {} layers", config.layers.len())));
        }
        if !types.iter().all(|kind| LAYER_TYPES.contains(kind)) {
            return Err(fields.invalid("layer_types", "entries full_attention or sliding_attention"));
        }
    }
    // Together with the bound on single sizes, no product below overflows.
    let widest = attention.num_heads.saturating_mul(attention.head_dim).max(config.mlp.intermediate_size);
    if widest.max(config.hidden_size) > 1 << 22 {
        return Err(fields.invalid("hidden_size", "layers of at most 4194304 units"));
    }
    Ok(())
}

/// Fields of any family that change the model in ways that ivl does not have.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Error> {
    if fields.has("quantization_config") {
        return Err(fields.invalid(
            "quantization_config",
            "none: ivl reads f32, f16 and bf16 weights; use the model that this one was quantised from",
        ));
    }
    if fields.opt_object("per_layer_config")?.is_some_and(|layers| !layers.is_empty()) {
        return Err(fields.invalid("per_layer_config", "nothing: all layers of a model have one shape"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
