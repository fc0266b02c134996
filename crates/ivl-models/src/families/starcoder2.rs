//! StarCoder2.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::read_window_of_all;
use crate::Error;
use crate::config::{Activation, ModelConfig, NormKind};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 49_152,
    hidden_size: 3072,
    intermediate_size: 12_288,
    num_layers: 30,
    num_heads: 24,
    num_kv_heads: DerivedSize::Fixed(2),
    max_positions: 4096,
    activation: Activation::GeluTanh,
    norm_eps: 1e-5,
    norm_eps_field: "norm_epsilon",
    tied: true,
    attention_bias: Bias::Field(true),
    attention_bias_field: "use_bias",
    mlp_bias: Bias::Field(true),
    mlp_bias_field: "use_bias",
    ..llama::DEFAULTS
};

/// Llama with layer norms, biases everywhere and no gate.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &DEFAULTS)?;
    config.norm.kind = NormKind::Layer;
    config.mlp.gated = false;
    read_window_of_all(&mut config, fields, None)?;
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::linear("blocks.{}.mlp.up", "model.layers.{}.mlp.c_fc"),
        Rule::linear("blocks.{}.mlp.down", "model.layers.{}.mlp.c_proj"),
    ])
}
