//! Qwen2 (also Qwen2.5) and Qwen3.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{layer_kinds, window};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const QWEN2: Defaults = Defaults {
    vocab_size: 151_936,
    intermediate_size: 22_016,
    num_kv_heads: DerivedSize::DerivedIfNull(32),
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 32_768,
    attention_bias: Bias::Always,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

const QWEN3: Defaults = Defaults { head_dim: DerivedSize::Fixed(128), attention_bias: Bias::Field, ..QWEN2 };

/// Llama with biases on query, key and value.
pub(super) fn qwen2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields, &QWEN2)?;
    config.attention.output_bias = false;
    Ok(config)
}

/// Llama with a norm on every query and key head.
pub(super) fn qwen3(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields, &QWEN3)?;
    config.attention.qk_norm = true;
    Ok(config)
}

/// A window on the upper layers, if it is switched on.
fn windows(fields: &Fields<'_>, defaults: &Defaults) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, defaults)?;
    let window = window(fields, Some(4096))?;
    let window = if fields.flag_or("use_sliding_window", false)? { window } else { None };
    let first = fields.count_or("max_window_layers", 28)?;
    config.layers = layer_kinds(fields, config.layers.len(), window, |layer| layer >= first)?;
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
    ])
}
