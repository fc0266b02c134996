//! Nemotron 3 and 4 and Minitron: the dense models.

use super::defaults::{Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{Activation, ModelConfig, NormKind};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 256_000,
    hidden_size: 6144,
    intermediate_size: 24_576,
    num_heads: 48,
    max_positions: 4096,
    activation: Activation::Relu2,
    norm_eps: 1e-5,
    norm_eps_field: "norm_eps",
    head_dim: DerivedSize::Derived,
    ..llama::DEFAULTS
};

/// Layer norms with `1 + w`, the square of a ReLU in place of a gate, half of each head rotated.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    // The only family without a default.
    fields.size("num_key_value_heads")?;
    config.norm.kind = NormKind::LayerUnitOffset;
    config.mlp.gated = false;
    Ok(config)
}
