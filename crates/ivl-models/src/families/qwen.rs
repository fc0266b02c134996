//! Qwen2 (also Qwen2.5) and Qwen3, and their mixtures of experts.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{
    expert_rules, num_experts, put_experts, read_layer_kinds, read_window_of_all, require_window,
    stacked_rules, window,
};
use crate::Error;
use crate::config::{ExpertsConfig, ModelConfig, QkNorm, SharedExpertConfig};
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

const QWEN3: Defaults =
    Defaults { head_dim: DerivedSize::Fixed(128), attention_bias: Bias::Field(false), ..QWEN2 };

const QWEN2_MOE: Defaults = Defaults {
    hidden_size: 2048,
    intermediate_size: 5632,
    num_layers: 24,
    num_heads: 16,
    num_kv_heads: DerivedSize::Fixed(16),
    attention_bias: Bias::Field(true),
    attention_bias_field: "qkv_bias",
    ..QWEN2
};

const QWEN3_MOE: Defaults = Defaults {
    hidden_size: 2048,
    intermediate_size: 6144,
    num_layers: 24,
    num_kv_heads: DerivedSize::Fixed(4),
    attention_bias: Bias::Field(false),
    ..QWEN2
};

/// Llama with biases on query, key and value.
pub(super) fn qwen2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields, &QWEN2)?;
    config.attention.output_bias = false;
    Ok(config)
}

/// Llama with a norm on every query and key head.
pub(super) fn qwen3(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = windows(fields, &QWEN3)?;
    config.attention.qk_norm = Some(QkNorm::Head);
    Ok(config)
}

/// A window on the upper layers, if it is switched on.
fn windows(fields: &Fields<'_>, defaults: &Defaults) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, defaults)?;
    let window = window(fields, Some(4096))?;
    let window = if fields.flag_or("use_sliding_window", false)? { window } else { None };
    let first = fields.count_or("max_window_layers", 28)?;
    read_layer_kinds(&mut config, fields, window, |layer| layer >= first)?;
    Ok(config)
}

/// Qwen2 with experts, one of which every token goes through, and perhaps windows on some lower layers.
pub(super) fn qwen2_moe(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &QWEN2_MOE)?;
    config.attention.output_bias = false;
    // Written as 0 where it is switched off.
    let mut size = None;
    if fields.flag_or("use_sliding_window", false)? {
        size = window(fields, Some(4096))?;
        require_window(fields, size)?;
    }
    let end = fields.count_or("max_window_layers", 28)?;
    read_layer_kinds(&mut config, fields, size, |layer| layer % 2 == 0 && layer < end)?;
    let intermediate_size = fields.size_or("shared_expert_intermediate_size", 5632)?;
    let shared = Some(SharedExpertConfig { intermediate_size, gated: true });
    let experts = ExpertsConfig { shared, ..experts(fields, [1408, 60, 4])? };
    put_in_steps(&mut config, fields, experts)?;
    Ok(config)
}

/// Qwen3 with experts, and perhaps a window on every layer.
pub(super) fn qwen3_moe(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &QWEN3_MOE)?;
    config.attention.qk_norm = Some(QkNorm::Head);
    if fields.flag_or("use_sliding_window", false)? {
        read_window_of_all(&mut config, fields, Some(4096))?;
    }
    put_in_steps(&mut config, fields, experts(fields, [768, 128, 8])?)?;
    Ok(config)
}

fn experts(fields: &Fields<'_>, [width, count, chosen]: [usize; 3]) -> Result<ExpertsConfig, Error> {
    Ok(ExpertsConfig {
        count: num_experts(fields, count)?,
        per_token: fields.size_or("num_experts_per_tok", chosen)?,
        intermediate_size: fields.size_or("moe_intermediate_size", width)?,
        renormalized: fields.flag_or("norm_topk_prob", false)?,
        bias: false,
        scaled_router: false,
        shared: None,
    })
}

/// Experts in every so many layers, but not in those that the file lists.
fn put_in_steps(config: &mut ModelConfig, fields: &Fields<'_>, experts: ExpertsConfig) -> Result<(), Error> {
    let dense = fields.opt_counts("mlp_only_layers")?.unwrap_or_default();
    let step = fields.size_or("decoder_sparse_step", 1)?;
    put_experts(config, fields, experts, |layer| {
        !dense.contains(&(layer as u64)) && (layer + 1).is_multiple_of(step)
    })
}

pub(super) fn moe_weights(config: &ModelConfig) -> WeightMap {
    let each = expert_rules([
        "model.layers.{}.mlp.experts.{}.gate_proj",
        "model.layers.{}.mlp.experts.{}.up_proj",
        "model.layers.{}.mlp.experts.{}.down_proj",
    ]);
    let stacked = stacked_rules(
        config,
        "model.layers.{}.mlp.experts.gate_up_proj",
        "model.layers.{}.mlp.experts.down_proj",
    );
    weights(config).with(each).or(stacked).with([
        Rule::linear("blocks.{}.experts.router", "model.layers.{}.mlp.gate"),
        Rule::linear("blocks.{}.experts.shared_gate", "model.layers.{}.mlp.shared_expert_gate"),
        Rule::linear("blocks.{}.experts.shared.gate", "model.layers.{}.mlp.shared_expert.gate_proj"),
        Rule::linear("blocks.{}.experts.shared.up", "model.layers.{}.mlp.shared_expert.up_proj"),
        Rule::linear("blocks.{}.experts.shared.down", "model.layers.{}.mlp.shared_expert.down_proj"),
    ])
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
    ])
}
