//! Phi-3 and Phi-3.5.

use super::{layer_kinds, llama};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

/// Mistral with fused projections.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::config(fields)?;
    config.layers = layer_kinds(fields, config.layers.len(), fields.opt_size("sliding_window")?, |_| true)?;
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    let attention = &config.attention;
    let (heads, kv) = (attention.num_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim);
    let qkv = |start| OutputSlice::Range { start, total: heads + 2 * kv };
    let inner = config.mlp.intermediate_size;
    let gate_up = |start| OutputSlice::Range { start, total: 2 * inner };
    let (fused_qkv, fused_mlp) = ("model.layers.{}.self_attn.qkv_proj", "model.layers.{}.mlp.gate_up_proj");
    llama::weights(config).with([
        Rule::linear("blocks.{}.attention.query", fused_qkv).slice(qkv(0)),
        Rule::linear("blocks.{}.attention.key", fused_qkv).slice(qkv(heads)),
        Rule::linear("blocks.{}.attention.value", fused_qkv).slice(qkv(heads + kv)),
        Rule::linear("blocks.{}.mlp.gate", fused_mlp).slice(gate_up(0)),
        Rule::linear("blocks.{}.mlp.up", fused_mlp).slice(gate_up(inner)),
    ])
}
