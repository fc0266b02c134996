//! Ministral 3.

use serde_json::{Value, json};

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::read_window_of_all;
use crate::Error;
use crate::config::{ModelConfig, QueryScale};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 131_072,
    intermediate_size: 14_336,
    num_layers: 34,
    num_kv_heads: DerivedSize::Fixed(8),
    head_dim: DerivedSize::Fixed(128),
    max_positions: 262_144,
    norm_eps: 1e-5,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Mistral with a factor on queries that grows with their position, and YaRN.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    if fields.has("rope_parameters") {
        return read(fields);
    }
    // What the configuration class puts in the place of an absent object.
    let parameters = json!({
        "type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16_384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1,
    });
    let mut map = fields.map().clone();
    map.insert("rope_parameters".to_owned(), parameters);
    read(&fields.within(&map, ""))
}

fn read(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &DEFAULTS)?;
    let scaled = fields.opt_object("rope_scaling")?.filter(|scaling| !scaling.is_empty());
    let rope = scaled.or(fields.opt_object("rope_parameters")?).unwrap_or(fields.empty());
    let Some(beta) = rope.opt_number("llama_4_scaling_beta")? else {
        return Err(rope.invalid("llama_4_scaling_beta", "a number"));
    };
    let kind = |field: &str| rope.map().get(field).and_then(Value::as_str);
    let is_stretched = ["yarn", "llama3", "longrope"].map(Some).contains(&kind("rope_type").or(kind("type")));
    let field = "original_max_position_embeddings";
    let original = match fields.opt_size(field)?.filter(|_| is_stretched) {
        Some(original) => original,
        None if is_stretched => {
            rope.size_or(field, fields.size_or("max_position_embeddings", DEFAULTS.max_positions)?)?
        }
        None => rope.size(field)?,
    };
    config.attention.query_scale = Some(QueryScale { beta, original });
    read_window_of_all(&mut config, fields, None)?;
    Ok(config)
}
