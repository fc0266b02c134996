//! Gemma and Gemma 2.

use super::{activation, layer_kinds, llama};
use crate::Error;
use crate::config::{Activation, ModelConfig, NormKind, Wiring};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

/// Llama with `1 + w` norms, scaled embeddings, a tied head and a tanh-GELU.
pub(super) fn gemma(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::config(fields)?;
    config.norm.kind = NormKind::RmsUnitOffset;
    config.embedding.scale = Some((config.hidden_size as f64).sqrt());
    config.embedding.tied = fields.flag_or("tie_word_embeddings", true)?;
    let field = if fields.has("hidden_activation") { "hidden_activation" } else { "hidden_act" };
    config.mlp.activation = match activation(fields, field, Activation::GeluTanh)? {
        // The first configurations said `gelu` and meant the approximation.
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    Ok(config)
}

/// Gemma with norms on both sides, soft caps, and a window on every other layer.
pub(super) fn gemma2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    if fields.flag_or("use_bidirectional_attention", false)? {
        return Err(fields.invalid("use_bidirectional_attention", "false: a causal LM sees no later tokens"));
    }
    let mut config = gemma(fields)?;
    config.wiring = Wiring::Sandwich;
    config.attention.scale = fields.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    config.attention.softcap = fields.positive_unless_null("attn_logit_softcapping", 50.0)?;
    config.embedding.softcap = fields.positive_unless_null("final_logit_softcapping", 30.0)?;
    let window = fields.opt_size("sliding_window")?.or(Some(4096));
    config.layers = layer_kinds(fields, config.layers.len(), window, |layer| layer % 2 == 0)?;
    Ok(config)
}

pub(super) fn gemma2_weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention_post_norm", "model.layers.{}.post_attention_layernorm"),
        Rule::same("blocks.{}.mlp_norm", "model.layers.{}.pre_feedforward_layernorm"),
        Rule::same("blocks.{}.mlp_post_norm", "model.layers.{}.post_feedforward_layernorm"),
    ])
}
