//! Gemma, Gemma 2 and the text model of Gemma 3.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{default_head_dim, read_layer_kinds, require_window, window};
use super::rope::RopeByKind;
use crate::Error;
use crate::config::{Activation, ModelConfig, NormKind, QkNorm, Wiring};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const GEMMA: Defaults = Defaults {
    vocab_size: 256_000,
    hidden_size: 3072,
    intermediate_size: 24_576,
    num_layers: 28,
    num_heads: 16,
    num_kv_heads: DerivedSize::Fixed(16),
    head_dim: DerivedSize::Fixed(256),
    max_positions: 8192,
    activation: Activation::GeluTanh,
    tied: true,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

const GEMMA2: Defaults = Defaults {
    hidden_size: 2304,
    intermediate_size: 9216,
    num_layers: 26,
    num_heads: 8,
    num_kv_heads: DerivedSize::Fixed(4),
    activation_field: "hidden_activation",
    ..GEMMA
};

const GEMMA3: Defaults = Defaults { vocab_size: 262_208, max_positions: 131_072, ..GEMMA2 };

/// Llama with `1 + w` norms, scaled embeddings, a tied head and a tanh-GELU.
pub(super) fn gemma(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = with_defaults(fields, &GEMMA)?;
    // The first configurations said `gelu` and meant the approximation.
    if config.mlp.activation == Activation::Gelu && fields.opt_text("hidden_act")? == Some("gelu") {
        config.mlp.activation = Activation::GeluTanh;
    }
    Ok(config)
}

fn with_defaults(fields: &Fields<'_>, defaults: &Defaults) -> Result<ModelConfig, Error> {
    refuse_bidirectional(fields)?;
    Ok(unit_offset(llama::with_rope(fields, defaults)?))
}

fn refuse_bidirectional(fields: &Fields<'_>) -> Result<(), Error> {
    match fields.opt_flag("use_bidirectional_attention")? {
        Some(true) => {
            Err(fields.invalid("use_bidirectional_attention", "false: a causal LM sees no later tokens"))
        }
        _ => Ok(()),
    }
}

/// What all generations share.
fn unit_offset(mut config: ModelConfig) -> ModelConfig {
    config.norm.kind = NormKind::RmsUnitOffset;
    config.embedding.scale = Some((config.hidden_size as f64).sqrt());
    config
}

/// Gemma with norms on both sides, soft caps, and a window on every other layer.
pub(super) fn gemma2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = with_defaults(fields, &GEMMA2)?;
    // Checked by transformers even where `head_dim` is given.
    default_head_dim(fields, config.hidden_size, config.attention.num_heads, "num_attention_heads")?;
    config.wiring = Wiring::Sandwich;
    config.attention.scale = (fields.size_or("query_pre_attn_scalar", 256)? as f64).powf(-0.5);
    config.attention.softcap = fields.positive_unless_null("attn_logit_softcapping", 50.0)?;
    config.embedding.softcap = fields.positive_unless_null("final_logit_softcapping", 30.0)?;
    let window = window(fields, Some(4096))?;
    read_layer_kinds(&mut config, fields, window, |layer| layer % 2 == 0)?;
    require_window(fields, window)?;
    Ok(config)
}

/// Gemma 2 with norms on queries and keys, five layers with a window to one without, and a theta for each of the two kinds.
pub(super) fn gemma3(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    refuse_bidirectional(fields)?;
    let mut config = unit_offset(GEMMA3.read(fields)?);
    default_head_dim(fields, config.hidden_size, config.attention.num_heads, "num_attention_heads")?;
    config.wiring = Wiring::Sandwich;
    config.attention.scale = (fields.size_or("query_pre_attn_scalar", 256)? as f64).powf(-0.5);
    config.attention.qk_norm = Some(QkNorm::Head);
    config.embedding.softcap = fields.opt_positive("final_logit_softcapping")?;
    let pattern = fields.size_or("sliding_window_pattern", 6)?;
    let window = window(fields, Some(4096))?;
    read_layer_kinds(&mut config, fields, window, |layer| (layer + 1) % pattern != 0)?;
    require_window(fields, window)?;
    let rope = RopeByKind { full: 1e6, sliding: 1e4, sliding_field: Some("rope_local_base_freq") };
    rope.read_into(&mut config, fields)?;
    Ok(config)
}

pub(super) fn gemma3_weights(config: &ModelConfig) -> WeightMap {
    gemma2_weights(config).with([
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
    ])
}

pub(super) fn gemma2_weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention_post_norm", "model.layers.{}.post_attention_layernorm"),
        Rule::same("blocks.{}.mlp_norm", "model.layers.{}.pre_feedforward_layernorm"),
        Rule::same("blocks.{}.mlp_post_norm", "model.layers.{}.post_feedforward_layernorm"),
    ])
}
