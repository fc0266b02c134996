//! GLM-4 of 2025.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{ModelConfig, RopePairing, Wiring};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 151_552,
    intermediate_size: 13_696,
    num_layers: 40,
    num_kv_heads: DerivedSize::Fixed(2),
    head_dim: DerivedSize::Fixed(128),
    max_positions: 131_072,
    norm_eps: 1.5625e-7,
    attention_bias: Bias::Field(true),
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Norms on both sides of attention and feed-forward, neighbours rotated together in half of each head.
pub(super) fn glm4(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope =
        RopeDefaults { partial: Some(0.5), pairing: RopePairing::Interleaved, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    config.attention.output_bias = false;
    config.wiring = Wiring::Sandwich;
    Ok(config)
}

pub(super) fn glm4_weights(config: &ModelConfig) -> WeightMap {
    let inner = config.mlp.intermediate_size;
    let half = |start| OutputSlice::Range { start, total: 2 * inner };
    let fused = "model.layers.{}.mlp.gate_up_proj";
    llama::weights(config).with([
        Rule::linear("blocks.{}.mlp.gate", fused).slice(half(0)),
        Rule::linear("blocks.{}.mlp.up", fused).slice(half(inner)),
        Rule::same("blocks.{}.attention_post_norm", "model.layers.{}.post_self_attn_layernorm"),
        Rule::same("blocks.{}.mlp_post_norm", "model.layers.{}.post_mlp_layernorm"),
    ])
}
