//! Qwen2 (also Qwen2.5) and Qwen3.

use super::{layer_kinds, llama};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

/// Llama with biases on query, key and value.
pub(super) fn qwen2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields)?;
    config.attention.qkv_bias = true;
    config.attention.output_bias = false;
    Ok(config)
}

/// Llama with a norm on every query and key head.
pub(super) fn qwen3(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields)?;
    config.attention.qk_norm = true;
    Ok(config)
}

/// A window on the upper layers, if it is switched on.
fn windows(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::config(fields)?;
    let window =
        if fields.flag_or("use_sliding_window", false)? { fields.opt_size("sliding_window")? } else { None };
    let first = match fields.opt_number("max_window_layers")? {
        Some(first) => first as usize,
        None => config.layers.len(),
    };
    config.layers = layer_kinds(fields, config.layers.len(), window, |layer| layer >= first)?;
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
    ])
}
