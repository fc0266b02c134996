//! Phi-1, Phi-1.5 and Phi-2.

use super::defaults::{DerivedSize, rounded_head_dim};
use super::readers::{activation, num_layers};
use super::rope::{self, RopeDefaults};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerConfig, MlpConfig, ModelConfig, NormConfig, NormKind,
    QkNorm, Wiring,
};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

/// Layer norm, partly rotary positions, biases everywhere, attention and feed-forward in parallel after one norm.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let hidden_size = fields.size_or("hidden_size", 2048)?;
    let num_heads = fields.size_or("num_attention_heads", 32)?;
    let head_dim = DerivedSize::DerivedIfAbsent
        .read(fields, "head_dim", || Ok(rounded_head_dim(hidden_size, num_heads)))?;
    let tied = fields.flag_or("tie_word_embeddings", false)?;
    if tied {
        return Err(
            fields.invalid("tie_word_embeddings", "false: the head of this family has a bias of its own")
        );
    }
    let mut config = ModelConfig {
        vocab_size: fields.size_or("vocab_size", 51_200)?,
        hidden_size,
        max_positions: fields.size_or("max_position_embeddings", 2048)?,
        norm: NormConfig { kind: NormKind::Layer, eps: fields.positive_or("layer_norm_eps", 1e-5)? },
        mlp: MlpConfig {
            intermediate_size: fields.size_or("intermediate_size", 8192)?,
            activation: activation(fields, "hidden_act", Activation::GeluTanh)?,
            gated: false,
            bias: true,
        },
        experts: None,
        wiring: Wiring::Parallel { shared_norm: true },
        residual_scale: None,
        layer_inputs: None,
        scaled_blocks: false,
        attention: AttentionConfig {
            num_kv_heads: fields.opt_size("num_key_value_heads")?.unwrap_or(num_heads),
            qkv_bias: true,
            output_bias: true,
            qk_norm: fields.flag_or("qk_layernorm", false)?.then_some(QkNorm::Head),
            ..AttentionConfig::multi_head(num_heads, head_dim)
        },
        layers: vec![LayerConfig::FULL; num_layers(fields, "num_hidden_layers", 24)?],
        embedding: EmbeddingConfig { head_bias: true, ..EmbeddingConfig::new(tied) },
    };
    rope::read_into(&mut config, fields, &RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() })?;
    Ok(config)
}

pub(super) fn weights(_: &ModelConfig) -> WeightMap {
    WeightMap::new(
        "model.",
        vec![
            Rule::same("embedding", "model.embed_tokens"),
            Rule::linear("blocks.{}.attention.query", "model.layers.{}.self_attn.q_proj"),
            Rule::linear("blocks.{}.attention.key", "model.layers.{}.self_attn.k_proj"),
            Rule::linear("blocks.{}.attention.value", "model.layers.{}.self_attn.v_proj"),
            Rule::linear("blocks.{}.attention.output", "model.layers.{}.self_attn.dense"),
            Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_layernorm"),
            Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_layernorm"),
            Rule::linear("blocks.{}.mlp.up", "model.layers.{}.mlp.fc1"),
            Rule::linear("blocks.{}.mlp.down", "model.layers.{}.mlp.fc2"),
            Rule::same("blocks.{}.attention_norm", "model.layers.{}.input_layernorm"),
            Rule::same("norm", "model.final_layernorm"),
            Rule::linear("head", "lm_head"),
        ],
    )
}
