//! Granite 3, dense and with experts, and the dense models of Granite 4.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{put_experts_everywhere, stacked_rules};
use super::rope::{self, RopeDefaults};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

const GRANITE: Defaults = Defaults { head_dim: DerivedSize::DerivedIfAbsent, ..llama::DEFAULTS };

/// Llama with factors on embeddings, scores, residuals and logits.
pub(super) fn granite(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    with_factors(fields, llama::with_rope(fields, &GRANITE)?)
}

fn with_factors(fields: &Fields<'_>, mut config: ModelConfig) -> Result<ModelConfig, Error> {
    config.embedding.scale = Some(fields.positive_or("embedding_multiplier", 1.0)?);
    config.embedding.logit_scale = Some(fields.positive_or("logits_scaling", 1.0)?.recip());
    config.residual_scale = Some(fields.positive_or("residual_multiplier", 1.0)?);
    config.attention.scale = fields.positive_or("attention_multiplier", 1.0)?;
    Ok(config)
}

/// Granite with experts in every layer.
pub(super) fn granite_moe(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let defaults = Defaults { mlp_bias: Bias::Never, ..GRANITE };
    let mut config = with_factors(fields, llama::with_rope(fields, &defaults)?)?;
    // Renormalised: the softmax of the chosen logits.
    put_experts_everywhere(&mut config, fields, [8, 2], true)?;
    Ok(config)
}

pub(super) fn granite_moe_weights(config: &ModelConfig) -> WeightMap {
    let stacked = stacked_rules(
        config,
        "model.layers.{}.block_sparse_moe.input_linear.weight",
        "model.layers.{}.block_sparse_moe.output_linear.weight",
    );
    let unnamed = stacked_rules(
        config,
        "model.layers.{}.block_sparse_moe.experts.gate_up_proj",
        "model.layers.{}.block_sparse_moe.experts.down_proj",
    );
    llama::weights(config)
        .with(stacked)
        .with([Rule::linear("blocks.{}.experts.router", "model.layers.{}.block_sparse_moe.router.layer")])
        .or(unnamed)
        .or([Rule::linear("blocks.{}.experts.router", "model.layers.{}.block_sparse_moe.router")])
}

/// Granite 4, of which ivl runs the models that have attention in every layer and no experts: their feed-forward layer is what
/// the others call the shared expert.
pub(super) fn granite4(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let defaults = Defaults { mlp_bias: Bias::Never, ..GRANITE };
    let mut config = defaults.read(fields)?;
    config.mlp.intermediate_size = fields.size_or("shared_intermediate_size", 1024)?;
    if fields.count_or("num_local_experts", 8)? != 0 {
        return Err(fields.invalid("num_local_experts", "0: ivl runs the dense models of this family"));
    }
    let name = if fields.is_absent("layer_types") { "layers_block_type" } else { "layer_types" };
    let types = fields.opt_texts(name)?.unwrap_or_default();
    if types.len() != config.layers.len()
        || types.iter().any(|kind| !["attention", "full_attention"].contains(kind))
    {
        return Err(fields.invalid(name, "attention in every layer: ivl has no Mamba-2 layers"));
    }
    // Without rotation, a layer knows positions by the causal mask only.
    if fields.opt_text("position_embedding_type")? == Some("rope") {
        rope::read_into(&mut config, fields, &RopeDefaults::default())?;
    }
    with_factors(fields, config)
}

pub(super) fn granite4_weights(config: &ModelConfig) -> WeightMap {
    let inner = config.mlp.intermediate_size;
    let half = |start| OutputSlice::Range { start, total: 2 * inner };
    let fused = "model.layers.{}.shared_mlp.input_linear";
    llama::weights(config).with([
        Rule::linear("blocks.{}.mlp.gate", fused).slice(half(0)),
        Rule::linear("blocks.{}.mlp.up", fused).slice(half(inner)),
        Rule::linear("blocks.{}.mlp.down", "model.layers.{}.shared_mlp.output_linear"),
    ])
}
