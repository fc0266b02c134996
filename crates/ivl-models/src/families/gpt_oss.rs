//! gpt-oss.

use serde_json::{Value, json};

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{num_experts, put_experts, read_layer_kinds, require_window, window};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{Activation, ExpertsConfig, ModelConfig};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 201_088,
    hidden_size: 2880,
    intermediate_size: 2880,
    num_layers: 36,
    num_heads: 64,
    num_kv_heads: DerivedSize::Fixed(8),
    head_dim: DerivedSize::Fixed(64),
    max_positions: 131_072,
    norm_eps: 1e-5,
    attention_bias: Bias::Field(true),
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with experts in every layer, scores without values, windows on every second layer, and biases.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 150_000.0, ..RopeDefaults::default() };
    let json = with_default_scaling(fields)?;
    let fields = &fields.within(&json, "");
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    let size = window(fields, Some(128))?;
    require_window(fields, size)?;
    read_layer_kinds(&mut config, fields, size, |layer| layer % 2 == 0)?;
    config.attention.sinks = true;
    config.mlp.activation = Activation::ClampedSwiGlu {
        alpha: fields.positive_or("swiglu_alpha", 1.702)?,
        limit: fields.positive_or("swiglu_limit", 7.0)?,
    };
    let experts = ExpertsConfig {
        count: num_experts(fields, 128)?,
        per_token: fields.size_or("num_experts_per_tok", 4)?,
        intermediate_size: config.mlp.intermediate_size,
        // The softmax of the chosen logits.
        renormalized: true,
        bias: true,
        scaled_router: false,
        shared: None,
    };
    put_experts(&mut config, fields, experts, |_| true)?;
    Ok(config)
}

/// The fields, with YaRN where the file says nothing of positions.
fn with_default_scaling(fields: &Fields<'_>) -> Result<serde_json::Map<String, Value>, Error> {
    let mut json = fields.map().clone();
    let is_scaled = fields.opt_object("rope_scaling")?.is_some_and(|scaling| !scaling.is_empty());
    if !is_scaled && !fields.has("rope_parameters") {
        let yarn = json!({
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 4096,
        });
        json.insert("rope_parameters".to_owned(), yarn);
    }
    Ok(json)
}

/// Experts are stacked as `[experts, input, output]`, gate and up taking turns; or as blocks of four bits, `[experts, output, input]`.
pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    const GATE: &str = "blocks.{}.experts.each.{}.gate";
    const UP: &str = "blocks.{}.experts.each.{}.up";
    const DOWN: &str = "blocks.{}.experts.each.{}.down";
    let count = config.experts.map_or(0, |experts| experts.count);
    let half = |part| OutputSlice::Interleaved { width: 1, part, parts: 2 };
    let fused = |ours, part| {
        Rule::stacked_by_input(ours, "model.layers.{}.mlp.experts.gate_up_proj", count)
            .biases("model.layers.{}.mlp.experts.gate_up_proj_bias")
            .slice(half(part))
    };
    let blocks = |ours, part| {
        Rule::stacked(ours, "model.layers.{}.mlp.experts.gate_up_proj_blocks", count).slice(half(part))
    };
    llama::weights(config)
        .with([
            Rule::same("blocks.{}.attention", "model.layers.{}.self_attn"),
            Rule::linear("blocks.{}.experts.router", "model.layers.{}.mlp.router"),
            fused(GATE, 0),
            fused(UP, 1),
            Rule::stacked_by_input(DOWN, "model.layers.{}.mlp.experts.down_proj", count)
                .biases("model.layers.{}.mlp.experts.down_proj_bias"),
        ])
        .or([
            blocks(GATE, 0),
            blocks(UP, 1),
            Rule::stacked(DOWN, "model.layers.{}.mlp.experts.down_proj_blocks", count),
        ])
}
