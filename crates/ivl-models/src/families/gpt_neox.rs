//! GPT-NeoX and Pythia.

use super::rope::{self, RopeDefaults};
use super::{activation, default_head_dim, num_layers};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerKind, MlpConfig, ModelConfig, NormConfig, NormKind,
    Position, Wiring,
};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

/// Layer norm, partly rotary positions, attention and feed-forward in parallel.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let hidden_size = fields.size("hidden_size")?;
    let num_heads = fields.size("num_attention_heads")?;
    let head_dim = default_head_dim(fields, hidden_size, num_heads, "num_attention_heads")?;
    let defaults = RopeDefaults {
        partial: 0.25,
        theta_field: "rotary_emb_base",
        partial_field: "rotary_pct",
        ..Default::default()
    };
    let max_positions = fields.size("max_position_embeddings")?;
    let (rope, max_positions) = rope::read(fields, head_dim, max_positions, &defaults)?;
    let bias = fields.flag_or("attention_bias", true)?;
    let parallel = fields.flag_or("use_parallel_residual", true)?;
    Ok(ModelConfig {
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        max_positions,
        norm: NormConfig { kind: NormKind::Layer, eps: fields.positive_or("layer_norm_eps", 1e-5)? },
        position: Position::Rope(rope),
        mlp: MlpConfig {
            intermediate_size: fields.size("intermediate_size")?,
            activation: activation(fields, "hidden_act", Activation::Gelu)?,
            gated: false,
            bias: true,
        },
        wiring: if parallel { Wiring::Parallel { shared_norm: false } } else { Wiring::PreNorm },
        attention: AttentionConfig {
            qkv_bias: bias,
            output_bias: bias,
            ..AttentionConfig::multi_head(num_heads, head_dim)
        },
        layers: vec![LayerKind::Full; num_layers(fields, "num_hidden_layers")?],
        embedding: EmbeddingConfig::new(fields.flag_or("tie_word_embeddings", false)?),
    })
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    // One projection holds, for each head in turn, its query, key and value.
    let fused = |part| OutputSlice::Interleaved { width: config.attention.head_dim, part, parts: 3 };
    let qkv = "gpt_neox.layers.{}.attention.query_key_value";
    WeightMap::new(
        "gpt_neox.",
        vec![
            Rule::same("embedding", "gpt_neox.embed_in"),
            Rule::linear("blocks.{}.attention.query", qkv).slice(fused(0)),
            Rule::linear("blocks.{}.attention.key", qkv).slice(fused(1)),
            Rule::linear("blocks.{}.attention.value", qkv).slice(fused(2)),
            Rule::linear("blocks.{}.attention.output", "gpt_neox.layers.{}.attention.dense"),
            Rule::linear("blocks.{}.mlp.up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
            Rule::linear("blocks.{}.mlp.down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
            Rule::same("blocks.{}.attention_norm", "gpt_neox.layers.{}.input_layernorm"),
            Rule::same("blocks.{}.mlp_norm", "gpt_neox.layers.{}.post_attention_layernorm"),
            Rule::same("norm", "gpt_neox.final_layer_norm"),
            Rule::linear("head", "embed_out"),
        ],
    )
    .ignoring(&[".attention.bias", ".attention.masked_bias"])
}
