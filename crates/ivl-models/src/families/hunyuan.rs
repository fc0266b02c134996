//! Hunyuan: the dense models.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{ModelConfig, QkNorm};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 290_943,
    norm_eps: 1e-5,
    mlp_bias: Bias::Never,
    // Without a default: absent and null are refused below.
    head_dim: DerivedSize::Derived,
    ..llama::DEFAULTS
};

/// Llama with a norm on each query and key head after its rotation.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    fields.size("head_dim")?;
    let rope = RopeDefaults { has_alpha: true, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    config.attention.qk_norm = Some(QkNorm::RotatedHead);
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.query_layernorm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.key_layernorm"),
    ])
}
