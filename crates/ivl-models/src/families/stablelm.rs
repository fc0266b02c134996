//! StableLM.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::default_head_dim;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{ModelConfig, NormKind, Wiring};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 50_304,
    hidden_size: 2560,
    intermediate_size: 6912,
    num_kv_heads: DerivedSize::Fixed(32),
    max_positions: 4096,
    norm_eps: 1e-5,
    norm_eps_field: "layer_norm_eps",
    attention_bias: Bias::Field(false),
    attention_bias_field: "use_qkv_bias",
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with layer norms, a quarter of each head rotated, and perhaps attention and feed-forward in parallel.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { partial: Some(0.25), ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    let heads = config.attention.num_heads;
    if config.attention.head_dim
        != default_head_dim(fields, config.hidden_size, heads, "num_attention_heads")?
    {
        return Err(fields.invalid("head_dim", "nothing: heads of this family divide the hidden size"));
    }
    if fields.flag_or("qk_layernorm", false)? {
        return Err(fields.invalid("qk_layernorm", "false: ivl has no norms with weights for each head"));
    }
    config.norm.kind = NormKind::Layer;
    config.attention.output_bias = false;
    if fields.flag_or("use_parallel_residual", false)? {
        config.wiring = Wiring::Parallel { shared_norm: true };
    }
    Ok(config)
}
