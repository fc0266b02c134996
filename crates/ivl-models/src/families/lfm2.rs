//! LFM2 (also LFM2.5): short convolutions in most layers, attention in the others.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{convolution_kernel, put_mixers};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{Mixer, ModelConfig, QkNorm, ShortConvolutionConfig};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 65_536,
    hidden_size: 2560,
    intermediate_size: 12_288,
    num_kv_heads: DerivedSize::Fixed(8),
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 128_000,
    // SiLU whatever a file says.
    activation_field: "",
    norm_eps: 1e-5,
    norm_eps_field: "norm_eps",
    tied: true,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with norms of heads, whose other layers are short convolutions between gates.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 1e6, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    config.attention.qk_norm = Some(QkNorm::Head);
    config.embedding.tied = fields.flag_or("tie_embedding", config.embedding.tied)?;
    config.mlp.intermediate_size = intermediate_size(fields, config.mlp.intermediate_size)?;
    let convolution = ShortConvolutionConfig {
        kernel: convolution_kernel(fields, "conv_L_cache", 3)?,
        bias: fields.flag_or("conv_bias", false)?,
    };
    let attends = fields.opt_counts("full_attn_idxs")?;
    put_mixers(&mut config, fields, "conv", Mixer::ShortConvolution(convolution), |layer| {
        attends.as_ref().is_some_and(|layers| !layers.contains(&(layer as u64)))
    })?;
    Ok(config)
}

/// Two thirds of the given width, times a factor, rounded up to a multiple.
fn intermediate_size(fields: &Fields<'_>, given: usize) -> Result<usize, Error> {
    let given = fields.size_or("block_ff_dim", given)?;
    if !fields.flag_or("block_auto_adjust_ff_dim", true)? {
        return Ok(given);
    }
    let scaled = (fields.positive_or("block_ffn_dim_multiplier", 1.0)? * (2 * given / 3) as f64) as usize;
    let multiple = fields.size_or("block_multiple_of", 256)?;
    Ok(scaled.div_ceil(multiple).max(1).saturating_mul(multiple))
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::linear("blocks.{}.attention.output", "model.layers.{}.self_attn.out_proj"),
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_layernorm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_layernorm"),
        Rule::linear("blocks.{}.convolution.input", "model.layers.{}.conv.in_proj"),
        Rule::depthwise("blocks.{}.convolution.filter", "model.layers.{}.conv.conv"),
        Rule::linear("blocks.{}.convolution.output", "model.layers.{}.conv.out_proj"),
        Rule::linear("blocks.{}.mlp.gate", "model.layers.{}.feed_forward.w1"),
        Rule::linear("blocks.{}.mlp.up", "model.layers.{}.feed_forward.w3"),
        Rule::linear("blocks.{}.mlp.down", "model.layers.{}.feed_forward.w2"),
        Rule::same("blocks.{}.attention_norm", "model.layers.{}.operator_norm"),
        Rule::same("blocks.{}.mlp_norm", "model.layers.{}.ffn_norm"),
        Rule::same("norm", "model.embedding_norm"),
    ])
}
