//! GPT-NeoX and Pythia.

use super::readers::{activation, default_head_dim, num_layers};
use super::rope::{self, RopeDefaults};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerConfig, MlpConfig, ModelConfig, NormConfig, NormKind,
    Wiring,
};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

/// Layer norm, partly rotary positions, attention and feed-forward in parallel.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let hidden_size = fields.size_or("hidden_size", 6144)?;
    let num_heads = fields.size_or("num_attention_heads", 64)?;
    let head_dim = default_head_dim(fields, hidden_size, num_heads, "num_attention_heads")?;
    let bias = fields.flag_or("attention_bias", true)?;
    let parallel = fields.flag_or("use_parallel_residual", true)?;
    let mut config = ModelConfig {
        vocab_size: fields.size_or("vocab_size", 50_432)?,
        hidden_size,
        max_positions: fields.size_or("max_position_embeddings", 2048)?,
        norm: NormConfig { kind: NormKind::Layer, eps: fields.positive_or("layer_norm_eps", 1e-5)? },
        mlp: MlpConfig {
            intermediate_size: fields.size_or("intermediate_size", 24_576)?,
            activation: activation(fields, "hidden_act", Activation::Gelu)?,
            gated: false,
            bias: true,
        },
        experts: None,
        wiring: if parallel { Wiring::Parallel { shared_norm: false } } else { Wiring::PreNorm },
        residual_scale: None,
        layer_inputs: None,
        scaled_blocks: false,
        attention: AttentionConfig {
            qkv_bias: bias,
            output_bias: bias,
            ..AttentionConfig::multi_head(num_heads, head_dim)
        },
        layers: vec![LayerConfig::FULL; num_layers(fields, "num_hidden_layers", 44)?],
        embedding: EmbeddingConfig::new(fields.flag_or("tie_word_embeddings", false)?),
    };
    let defaults = RopeDefaults {
        partial: Some(0.25),
        theta_field: "rotary_emb_base",
        partial_field: "rotary_pct",
        ..RopeDefaults::default()
    };
    rope::read_into(&mut config, fields, &defaults)?;
    Ok(config)
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
