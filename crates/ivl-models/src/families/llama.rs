//! Llama (also TinyLlama and CodeLlama) and Mistral, and what the families that follow them share.

use super::rope::{self, RopeDefaults};
use super::{activation, default_head_dim, layer_kinds, num_layers};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerKind, MlpConfig, ModelConfig, NormConfig, NormKind,
    Position, Wiring,
};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

/// Pre-norm, RMS norm, rotary positions, grouped queries, gated feed-forward.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let hidden_size = fields.size("hidden_size")?;
    let num_heads = fields.size("num_attention_heads")?;
    let head_dim = match fields.opt_size("head_dim")? {
        Some(head_dim) => head_dim,
        None => default_head_dim(fields, hidden_size, num_heads, "num_attention_heads")?,
    };
    let bias = fields.flag_or("attention_bias", false)?;
    let max_positions = fields.size("max_position_embeddings")?;
    let (rope, max_positions) = rope::read(fields, head_dim, max_positions, &RopeDefaults::default())?;
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        max_positions,
        norm: NormConfig { kind: NormKind::Rms, eps: fields.positive_or("rms_norm_eps", 1e-6)? },
        position: Position::Rope(rope),
        mlp: MlpConfig {
            intermediate_size: fields.size("intermediate_size")?,
            activation: activation(fields, "hidden_act", Activation::Silu)?,
            gated: true,
            bias: fields.flag_or("mlp_bias", false)?,
        },
        wiring: Wiring::PreNorm,
        attention: AttentionConfig {
            num_kv_heads: fields.opt_size("num_key_value_heads")?.unwrap_or(num_heads),
            qkv_bias: bias,
            output_bias: bias,
            ..AttentionConfig::multi_head(num_heads, head_dim)
        },
        layers: vec![LayerKind::Full; num_layers(fields, "num_hidden_layers")?],
        embedding: EmbeddingConfig::new(fields.flag_or("tie_word_embeddings", false)?),
    })
}

/// Mistral: a window on every layer where one is given.
pub(super) fn mistral(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = self::config(fields)?;
    config.layers = layer_kinds(fields, config.layers.len(), fields.opt_size("sliding_window")?, |_| true)?;
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
