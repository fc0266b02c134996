//! ERNIE 4.5: the dense models.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{ModelConfig, RopePairing};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 103_424,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_layers: 18,
    num_heads: 16,
    num_kv_heads: DerivedSize::DerivedIfNull(2),
    head_dim: DerivedSize::DerivedIfNull(128),
    max_positions: 131_072,
    norm_eps: 1e-5,
    tied: true,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with neighbours rotated together, and one field for all biases.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 5e5, pairing: RopePairing::Interleaved, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    let bias = fields.opt_flag("use_bias")?.unwrap_or(false);
    (config.attention.qkv_bias, config.attention.output_bias, config.mlp.bias) = (bias, bias, bias);
    Ok(config)
}
