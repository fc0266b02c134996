//! The table of model families. A family is data: how its `config.json` reads, and what its tensors are called. A model that
//! contains a language model (`wrapped.rs`) is read as that language model.
//!
//! To add one: a file beside this one with `config` and `weights`, a line in [`FAMILIES`], and a fixture directory.

mod apertus;
mod arcee;
mod cohere;
mod defaults;
mod ernie;
mod exaone4;
mod gemma;
mod gemma4;
mod glm;
mod gpt2;
mod gpt_neox;
mod gpt_oss;
mod granite;
mod helium;
mod hunyuan;
mod lfm2;
mod llama;
mod ministral;
mod mixtral;
mod nemotron;
mod olmo;
mod phi;
mod phi3;
mod qwen;
mod qwen3_5;
mod readers;
mod rope;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;
pub(crate) mod weight_map;
pub(crate) mod wrapped;

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
    Family { model_type: "gemma3_text", config: gemma::gemma3, weights: gemma::gemma3_weights },
    Family { model_type: "gemma4_text", config: gemma4::config, weights: gemma4::weights },
    Family { model_type: "gpt_neox", config: gpt_neox::config, weights: gpt_neox::weights },
    Family { model_type: "gpt2", config: gpt2::config, weights: gpt2::weights },
    Family { model_type: "phi", config: phi::config, weights: phi::weights },
    Family { model_type: "phi3", config: phi3::config, weights: phi3::weights },
    Family { model_type: "olmo2", config: olmo::olmo2, weights: olmo::weights },
    Family { model_type: "olmo3", config: olmo::olmo3, weights: olmo::weights },
    Family { model_type: "granite", config: granite::granite, weights: llama::weights },
    Family { model_type: "granitemoehybrid", config: granite::granite4, weights: granite::granite4_weights },
    Family { model_type: "ministral3", config: ministral::config, weights: llama::weights },
    Family { model_type: "smollm3", config: smollm3::config, weights: llama::weights },
    Family { model_type: "cohere", config: cohere::cohere, weights: llama::weights },
    Family { model_type: "cohere2", config: cohere::cohere2, weights: llama::weights },
    Family { model_type: "glm4", config: glm::glm4, weights: glm::glm4_weights },
    Family { model_type: "starcoder2", config: starcoder2::config, weights: starcoder2::weights },
    Family { model_type: "stablelm", config: stablelm::config, weights: llama::weights },
    Family { model_type: "exaone4", config: exaone4::config, weights: olmo::weights },
    Family { model_type: "apertus", config: apertus::config, weights: apertus::weights },
    Family { model_type: "seed_oss", config: seed_oss::config, weights: llama::weights },
    Family { model_type: "nemotron", config: nemotron::config, weights: llama::weights },
    Family { model_type: "arcee", config: arcee::config, weights: llama::weights },
    Family { model_type: "ernie4_5", config: ernie::config, weights: llama::weights },
    Family { model_type: "hunyuan_v1_dense", config: hunyuan::config, weights: hunyuan::weights },
    Family { model_type: "qwen2_moe", config: qwen::qwen2_moe, weights: qwen::moe_weights },
    Family { model_type: "qwen3_moe", config: qwen::qwen3_moe, weights: qwen::moe_weights },
    Family { model_type: "mixtral", config: mixtral::config, weights: mixtral::weights },
    Family { model_type: "olmoe", config: olmo::olmoe, weights: qwen::moe_weights },
    Family { model_type: "granitemoe", config: granite::granite_moe, weights: granite::granite_moe_weights },
    Family { model_type: "gpt_oss", config: gpt_oss::config, weights: gpt_oss::weights },
    Family { model_type: "lfm2", config: lfm2::config, weights: lfm2::weights },
    Family { model_type: "qwen3_5_text", config: qwen3_5::dense, weights: qwen3_5::weights },
    Family { model_type: "qwen3_5_moe_text", config: qwen3_5::moe, weights: qwen3_5::moe_weights },
    Family { model_type: "helium", config: helium::config, weights: llama::weights },
];

/// Models that are often met and that ivl does not run, with what they need.
const REFUSED: &[(&str, &str)] = &[
    ("deepseek_v2", "multi-head latent attention"),
    ("deepseek_v3", "multi-head latent attention"),
    ("deepseek_v4", "compressed attention and hyper-connections"),
    ("kimi_k2", "multi-head latent attention"),
    ("kimi_linear", "linear attention"),
    ("mistral4", "multi-head latent attention"),
    ("glm4_moe_lite", "multi-head latent attention"),
    ("llama4", "chunked attention and experts with scaled inputs"),
    ("llama4_text", "chunked attention and experts with scaled inputs"),
    ("gemma3n", "per-layer embeddings and shared keys"),
    ("gemma3n_text", "per-layer embeddings and shared keys"),
    ("qwen3_next", "gated delta networks"),
    ("qwen4_exp", "hyper-connections"),
    ("lfm2_vl", "a reader for the files around its language model, an LFM2"),
    ("lfm2_moe", "short convolutions with experts"),
    ("lfm3", "its kinds of layers"),
    ("nemotron_h", "Mamba-2 layers"),
    ("falcon_h1", "Mamba-2 layers"),
    ("jamba", "Mamba layers"),
    ("mamba", "Mamba layers"),
    ("bamba", "Mamba-2 layers"),
    ("olmo_hybrid", "gated delta networks"),
];

/// The family of a configuration and the shape of its model, or of the language model that it wraps.
///
/// # Errors
/// [`Error::UnsupportedArchitecture`] for a `model_type` that is known not to run, [`Error::UnknownArchitecture`] for another
/// outside the table, [`Error::MissingField`] or
/// [`Error::InvalidField`] for a field that is absent or means nothing to ivl.
pub fn read_config(json: &Map<String, Value>, path: &Path) -> Result<(&'static Family, ModelConfig), Error> {
    let json = wrapped::text_model(json, path)?;
    let fields = Fields::new(&json, path);
    let Some(model_type) = fields.opt_text("model_type")? else {
        return Err(Error::MissingField { path: path.to_owned(), field: "model_type".to_owned() });
    };
    if let Some(&(_, missing)) = REFUSED.iter().find(|(name, _)| *name == model_type) {
        return Err(Error::UnsupportedArchitecture {
            path: path.to_owned(),
            got: model_type.to_owned(),
            missing,
        });
    }
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
    let heads = config.attention.num_heads;
    let attentions =
        || config.layers.iter().map(|layer| config.attention_of(layer)).chain([config.attention]);
    if attentions().any(|attention| !heads.is_multiple_of(attention.num_kv_heads)) {
        return Err(fields.invalid("num_key_value_heads", format!("a divisor of {heads} heads")));
    }
    // Transformers checks the list even of families that read none.
    if let Some(types) = readers::layer_types(fields, config.layers.len())?
        && !config.is_recurrent()
        && !types.iter().all(|kind| LAYER_TYPES.contains(kind))
    {
        return Err(fields.invalid("layer_types", "entries full_attention or sliding_attention"));
    }
    // Together with the bound on single sizes, no product below overflows.
    let widths = attentions().map(|attention| heads.saturating_mul(attention.head_dim));
    let inner = config.layers.iter().filter_map(|layer| layer.intermediate_size);
    let sizes = [config.mlp.intermediate_size, config.hidden_size];
    if widths.chain(inner).chain(sizes).any(|width| width > 1 << 22) {
        return Err(fields.invalid("hidden_size", "layers of at most 4194304 units"));
    }
    if let Some(experts) = &config.experts {
        // A bound on the number of modules.
        if experts.count * config.layers.len() > 1 << 16 {
            return Err(fields.invalid("num_experts", "at most 65536 experts in all layers together"));
        }
        let shared = experts.shared.map_or(0, |shared| shared.intermediate_size);
        if experts.intermediate_size.max(shared) > 1 << 22 {
            return Err(fields.invalid("moe_intermediate_size", "experts of at most 4194304 units"));
        }
    }
    Ok(())
}

/// Fields of any family that change the model in ways that ivl does not have.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Error> {
    let is_read = fields.opt_text("model_type")? == Some("gemma4_text");
    if !is_read && fields.opt_object("per_layer_config")?.is_some_and(|layers| !layers.is_empty()) {
        return Err(fields.invalid("per_layer_config", "nothing: all layers of a model have one shape"));
    }
    Ok(())
}
