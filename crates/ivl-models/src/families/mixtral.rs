//! Mixtral.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{expert_rules, put_experts_everywhere, read_window_of_all, stacked_rules};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    intermediate_size: 14_336,
    num_kv_heads: DerivedSize::Fixed(8),
    max_positions: 4096 * 32,
    norm_eps: 1e-5,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Mistral with experts in every layer.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 1e6, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    read_window_of_all(&mut config, fields, None)?;
    put_experts_everywhere(&mut config, fields, [8, 2], true)?;
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    let each = expert_rules([
        "model.layers.{}.block_sparse_moe.experts.{}.w1",
        "model.layers.{}.block_sparse_moe.experts.{}.w3",
        "model.layers.{}.block_sparse_moe.experts.{}.w2",
    ]);
    let stacked = stacked_rules(
        config,
        "model.layers.{}.mlp.experts.gate_up_proj",
        "model.layers.{}.mlp.experts.down_proj",
    );
    llama::weights(config)
        .with(each)
        .with([Rule::linear("blocks.{}.experts.router", "model.layers.{}.block_sparse_moe.gate")])
        .or(stacked)
        .or([Rule::linear("blocks.{}.experts.router", "model.layers.{}.mlp.gate")])
}
