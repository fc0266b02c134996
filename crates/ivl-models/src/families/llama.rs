//! Llama (also TinyLlama and CodeLlama) and Mistral, and what the families that follow them share.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::readers::{default_head_dim, read_window_of_all};
use super::rope::{self, RopeDefaults};
use crate::Error;
use crate::config::{Activation, ModelConfig};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

/// Those of Llama; families that follow it change some.
pub(super) const DEFAULTS: Defaults = Defaults {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_layers: 32,
    num_heads: 32,
    num_kv_heads: DerivedSize::Derived,
    head_dim: DerivedSize::Derived,
    max_positions: 2048,
    activation: Activation::Silu,
    activation_field: "hidden_act",
    norm_eps: 1e-6,
    norm_eps_field: "rms_norm_eps",
    tied: false,
    attention_bias: Bias::Field(false),
    attention_bias_field: "attention_bias",
    mlp_bias: Bias::Field(false),
    mlp_bias_field: "mlp_bias",
};

const MISTRAL: Defaults = Defaults {
    intermediate_size: 14_336,
    num_kv_heads: DerivedSize::Fixed(8),
    max_positions: 4096 * 32,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..DEFAULTS
};

/// Pre-norm, RMS norm, rotary positions, grouped queries, gated feed-forward.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let config = with_rope(fields, &DEFAULTS)?;
    // Checked by transformers even where `head_dim` is given.
    default_head_dim(fields, config.hidden_size, config.attention.num_heads, "num_attention_heads")?;
    Ok(config)
}

/// Mistral: a window on every layer, of 4096 positions unless the file says null.
pub(super) fn mistral(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = with_rope(fields, &MISTRAL)?;
    read_window_of_all(&mut config, fields, Some(4096))?;
    Ok(config)
}

/// A decoder with these defaults and rotary positions over whole heads.
pub(super) fn with_rope(fields: &Fields<'_>, defaults: &Defaults) -> Result<ModelConfig, Error> {
    with_rope_defaults(fields, defaults, &RopeDefaults::default())
}

/// A decoder with these defaults and rotary positions.
pub(super) fn with_rope_defaults(
    fields: &Fields<'_>,
    defaults: &Defaults,
    rope: &RopeDefaults,
) -> Result<ModelConfig, Error> {
    let mut config = defaults.read(fields)?;
    rope::read_into(&mut config, fields, rope)?;
    Ok(config)
}

/// The names that most families use.
pub(super) fn weights(_: &ModelConfig) -> WeightMap {
    WeightMap::new(
        "model.",
        vec![
            Rule::same("embedding", "model.embed_tokens"),
            Rule::linear("blocks.{}.attention.query", "model.layers.{}.self_attn.q_proj"),
            Rule::linear("blocks.{}.attention.key", "model.layers.{}.self_attn.k_proj"),
            Rule::linear("blocks.{}.attention.value", "model.layers.{}.self_attn.v_proj"),
            Rule::linear("blocks.{}.attention.output", "model.layers.{}.self_attn.o_proj"),
            Rule::linear("blocks.{}.mlp.gate", "model.layers.{}.mlp.gate_proj"),
            Rule::linear("blocks.{}.mlp.up", "model.layers.{}.mlp.up_proj"),
            Rule::linear("blocks.{}.mlp.down", "model.layers.{}.mlp.down_proj"),
            Rule::same("blocks.{}.attention_norm", "model.layers.{}.input_layernorm"),
            Rule::same("blocks.{}.mlp_norm", "model.layers.{}.post_attention_layernorm"),
            Rule::same("norm", "model.norm"),
            Rule::linear("head", "lm_head"),
        ],
    )
}
