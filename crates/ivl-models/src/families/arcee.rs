//! Arcee's foundation models.

use super::defaults::Defaults;
use super::llama;
use super::readers::default_head_dim;
use crate::Error;
use crate::config::{Activation, ModelConfig};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    hidden_size: 2560,
    intermediate_size: 18_432,
    max_positions: 4096,
    activation: Activation::Relu2,
    norm_eps: 1e-5,
    ..llama::DEFAULTS
};

/// Llama with the square of a ReLU in place of a gate.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &DEFAULTS)?;
    default_head_dim(fields, config.hidden_size, config.attention.num_heads, "num_attention_heads")?;
    config.mlp.gated = false;
    Ok(config)
}
