//! Qwen3.5 (also Qwen3.6 and 3.8), dense and with experts: gated delta networks in most layers, gated attention in the others.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::qwen;
use super::readers::{convolution_kernel, num_experts, put_experts, put_mixers};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{
    DeltaNetConfig, ExpertsConfig, Mixer, ModelConfig, NormKind, QkNorm, SharedExpertConfig,
};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 248_320,
    intermediate_size: 12_288,
    num_heads: 16,
    num_kv_heads: DerivedSize::Fixed(4),
    head_dim: DerivedSize::Fixed(256),
    max_positions: 32_768,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

const MOE: Defaults =
    Defaults { hidden_size: 2048, num_layers: 40, num_kv_heads: DerivedSize::Fixed(2), ..DEFAULTS };

/// Llama with `1 + w` norms, norms of heads of which a part is rotated, and a gate on attention; three layers of four are gated
/// delta networks. Sections of the rotation concern images: for text all are alike.
pub(super) fn dense(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    with_defaults(fields, &DEFAULTS)
}

/// Qwen3.5 with experts in the place of every feed-forward layer, and one for all tokens.
pub(super) fn moe(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    // The width of layers that it does not have.
    let mut map = fields.map().clone();
    map.remove("intermediate_size");
    let fields = &fields.within(&map, "");
    let mut config = with_defaults(fields, &MOE)?;
    let shared = fields.size_or("shared_expert_intermediate_size", 512)?;
    let experts = ExpertsConfig {
        count: num_experts(fields, 256)?,
        per_token: fields.size_or("num_experts_per_tok", 8)?,
        intermediate_size: fields.size_or("moe_intermediate_size", 512)?,
        renormalized: true,
        bias: false,
        scaled_router: false,
        shared: Some(SharedExpertConfig { intermediate_size: shared, gated: true }),
    };
    put_experts(&mut config, fields, experts, |_| true)?;
    Ok(config)
}

fn with_defaults(fields: &Fields<'_>, defaults: &Defaults) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { partial: Some(0.25), ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, defaults, &rope)?;
    config.norm.kind = NormKind::RmsUnitOffset;
    config.attention.qk_norm = Some(QkNorm::Head);
    config.attention.output_gate = true;
    let delta = delta(fields)?;
    let interval = fields.size_or("full_attention_interval", 4)?;
    put_mixers(&mut config, fields, "linear_attention", Mixer::DeltaNet(delta), |layer| {
        !(layer + 1).is_multiple_of(interval)
    })?;
    Ok(config)
}

fn delta(fields: &Fields<'_>) -> Result<DeltaNetConfig, Error> {
    let size = |field, default| match fields.size_or(field, default)? {
        size if size <= 4096 => Ok(size),
        _ => Err(fields.invalid(field, "at most 4096")),
    };
    let delta = DeltaNetConfig {
        key_heads: size("linear_num_key_heads", 16)?,
        value_heads: size("linear_num_value_heads", 32)?,
        key_dim: size("linear_key_head_dim", 128)?,
        value_dim: size("linear_value_head_dim", 128)?,
        kernel: convolution_kernel(fields, "linear_conv_kernel_dim", 4)?,
    };
    if !delta.value_heads.is_multiple_of(delta.key_heads) {
        let expected = format!("a multiple of {} key heads", delta.key_heads);
        return Err(fields.invalid("linear_num_value_heads", expected));
    }
    if delta.channels() > 1 << 22 {
        return Err(fields.invalid("linear_value_head_dim", "layers of at most 4194304 units"));
    }
    Ok(delta)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    qwen::weights(config).with(delta_rules())
}

pub(super) fn moe_weights(config: &ModelConfig) -> WeightMap {
    qwen::moe_weights(config).with(delta_rules())
}

fn delta_rules() -> [Rule; 9] {
    [
        Rule::linear("blocks.{}.delta.mixed", "model.layers.{}.linear_attn.in_proj_qkv"),
        Rule::linear("blocks.{}.delta.gate", "model.layers.{}.linear_attn.in_proj_z"),
        Rule::linear("blocks.{}.delta.forget", "model.layers.{}.linear_attn.in_proj_a"),
        Rule::linear("blocks.{}.delta.strength", "model.layers.{}.linear_attn.in_proj_b"),
        Rule::depthwise("blocks.{}.delta.filter", "model.layers.{}.linear_attn.conv1d"),
        Rule::parameter("blocks.{}.delta.decay.rate", "model.layers.{}.linear_attn.A_log"),
        Rule::parameter("blocks.{}.delta.decay.bias", "model.layers.{}.linear_attn.dt_bias"),
        Rule::same("blocks.{}.delta.norm", "model.layers.{}.linear_attn.norm"),
        Rule::linear("blocks.{}.delta.output", "model.layers.{}.linear_attn.out_proj"),
    ]
}
