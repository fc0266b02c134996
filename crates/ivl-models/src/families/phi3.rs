//! Phi-3 and Phi-3.5.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::read_window_of_all;
use super::rope::{self, RopeDefaults};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 32_064,
    hidden_size: 3072,
    intermediate_size: 8192,
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 4096,
    norm_eps: 1e-5,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Context of pre-training.
const ORIGINAL: usize = 4096;

/// Mistral with fused projections, and no window unless the file gives one.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = DEFAULTS.read(fields)?;
    fields.size_or("original_max_position_embeddings", ORIGINAL)?;
    let defaults = RopeDefaults {
        partial: Some(1.0),
        original: Some(ORIGINAL),
        // Its first releases said `su`, later ones `yarn`.
        longrope_names: &["longrope", "su", "yarn"],
        only_longrope: true,
        ..RopeDefaults::default()
    };
    rope::read_into(&mut config, fields, &defaults)?;
    read_window_of_all(&mut config, fields, None)?;
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
