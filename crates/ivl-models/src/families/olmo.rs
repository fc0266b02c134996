//! OLMo 2 and OLMo 3, and OLMoE.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{put_experts_everywhere, read_layer_kinds, require_window, window};
use super::rope::RopeByKind;
use crate::Error;
use crate::config::{ModelConfig, QkNorm, Wiring};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 50_304,
    head_dim: DerivedSize::DerivedIfAbsent,
    norm_eps: 1e-5,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with norms after attention and feed-forward in place of before, and norms over all query and all key heads.
pub(super) fn olmo2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    Ok(post_norm(llama::with_rope(fields, &DEFAULTS)?))
}

/// OLMo 2 with a window on three layers of four; only the others stretch their rotation.
pub(super) fn olmo3(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = post_norm(DEFAULTS.read(fields)?);
    let window = window(fields, Some(4096))?;
    read_layer_kinds(&mut config, fields, window, |layer| (layer + 1) % 4 != 0)?;
    require_window(fields, window)?;
    RopeByKind { full: 5e5, sliding: 5e5, sliding_field: None }.read_into(&mut config, fields)?;
    Ok(config)
}

const OLMOE: Defaults = Defaults {
    hidden_size: 2048,
    intermediate_size: 2048,
    num_layers: 16,
    num_heads: 16,
    max_positions: 4096,
    ..DEFAULTS
};

/// Llama with experts in every layer, and norms over all query and all key heads.
pub(super) fn olmoe(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &OLMOE)?;
    config.attention.qk_norm = Some(QkNorm::AllHeads);
    if config.attention.num_heads * config.attention.head_dim != config.hidden_size {
        return Err(fields.invalid("head_dim", "the hidden size divided by the number of heads"));
    }
    if fields.has("clip_qkv") {
        return Err(fields.invalid("clip_qkv", "null: ivl does not bound queries, keys and values"));
    }
    let renormalized = fields.flag_or("norm_topk_prob", false)?;
    put_experts_everywhere(&mut config, fields, [64, 8], renormalized)?;
    Ok(config)
}

fn post_norm(mut config: ModelConfig) -> ModelConfig {
    config.wiring = Wiring::PostNorm;
    config.attention.qk_norm = Some(QkNorm::AllHeads);
    config
}

/// Norms after attention and feed-forward, and norms of queries and keys.
pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention_post_norm", "model.layers.{}.post_attention_layernorm"),
        Rule::same("blocks.{}.mlp_post_norm", "model.layers.{}.post_feedforward_layernorm"),
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
    ])
}
