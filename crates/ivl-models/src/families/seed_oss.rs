//! Seed-OSS.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use crate::Error;
use crate::config::ModelConfig;
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 155_136,
    intermediate_size: 27_648,
    num_layers: 64,
    num_heads: 80,
    num_kv_heads: DerivedSize::DerivedIfNull(8),
    head_dim: DerivedSize::DerivedIfNull(128),
    max_positions: 524_288,
    attention_bias: Bias::Field(true),
    ..llama::DEFAULTS
};

/// Llama with biases on query, key and value, and a field for that of the output.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &DEFAULTS)?;
    config.attention.output_bias = fields.flag_or("attention_out_bias", false)?;
    Ok(config)
}
