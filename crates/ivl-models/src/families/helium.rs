//! Helium.

use super::defaults::{Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{ModelConfig, RopePairing};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 48_000,
    hidden_size: 2560,
    intermediate_size: 7040,
    num_layers: 24,
    num_heads: 20,
    num_kv_heads: DerivedSize::Fixed(20),
    head_dim: DerivedSize::Fixed(128),
    max_positions: 4096,
    norm_eps: 1e-8,
    ..llama::DEFAULTS
};

/// Llama with neighbours rotated together.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 1e5, pairing: RopePairing::Interleaved, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    if config.attention.num_heads * config.attention.head_dim != config.hidden_size {
        return Err(fields.invalid("head_dim", "the hidden size divided by the number of heads"));
    }
    config.attention.output_bias = false;
    Ok(config)
}
