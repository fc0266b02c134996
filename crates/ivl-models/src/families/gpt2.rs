//! GPT-2.

use super::readers::{activation, default_head_dim, num_layers};
use crate::Error;
use crate::config::{
    Activation, AttentionConfig, EmbeddingConfig, LayerConfig, MlpConfig, ModelConfig, NormConfig, NormKind,
    Wiring,
};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};
use crate::fields::Fields;

/// Layer norm, learned positions, a tied head.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    // The names of other families are other names of the same attributes in transformers, and go before.
    let name = |common: &'static str, own: &'static str| if fields.is_absent(common) { own } else { common };
    let [hidden, heads] = [name("hidden_size", "n_embd"), name("num_attention_heads", "n_head")];
    let [layers, positions] =
        [name("num_hidden_layers", "n_layer"), name("max_position_embeddings", "n_positions")];
    let hidden_size = fields.size_or(hidden, 768)?;
    let num_heads = fields.size_or(heads, 12)?;
    let head_dim = default_head_dim(fields, hidden_size, num_heads, heads)?;
    if fields.flag_or("add_cross_attention", false)? {
        return Err(fields.invalid("add_cross_attention", "false: ivl runs decoder-only models"));
    }
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    Ok(ModelConfig {
        vocab_size: fields.size_or("vocab_size", 50_257)?,
        hidden_size,
        max_positions: fields.size_or(positions, 1024)?,
        norm: NormConfig { kind: NormKind::Layer, eps: fields.positive_or("layer_norm_epsilon", 1e-5)? },
        mlp: MlpConfig {
            intermediate_size: fields.opt_size("n_inner")?.unwrap_or(4 * hidden_size),
            activation: activation(fields, "activation_function", Activation::GeluTanh)?,
            gated: false,
            bias: true,
        },
        experts: None,
        wiring: Wiring::PreNorm,
        residual_scale: None,
        layer_inputs: None,
        scaled_blocks: false,
        attention: AttentionConfig {
            qkv_bias: true,
            output_bias: true,
            scale: if scaled { (head_dim as f64).powf(-0.5) } else { 1.0 },
            scale_by_layer: fields.flag_or("scale_attn_by_inverse_layer_idx", false)?,
            ..AttentionConfig::multi_head(num_heads, head_dim)
        },
        layers: vec![LayerConfig::FULL; num_layers(fields, layers, 12)?],
        embedding: EmbeddingConfig {
            learned_positions: true,
            ..EmbeddingConfig::new(fields.flag_or("tie_word_embeddings", true)?)
        },
    })
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    // Its projections are stored as [input, output]; one holds query, key and value, one after the other.
    let hidden = config.hidden_size;
    let fused = |part| OutputSlice::Range { start: part * hidden, total: 3 * hidden };
    WeightMap::new(
        "transformer.",
        vec![
            Rule::same("embedding", "transformer.wte"),
            Rule::same("position_embedding", "transformer.wpe"),
            Rule::same("blocks.{}.attention.query", "transformer.h.{}.attn.c_attn").slice(fused(0)),
            Rule::same("blocks.{}.attention.key", "transformer.h.{}.attn.c_attn").slice(fused(1)),
            Rule::same("blocks.{}.attention.value", "transformer.h.{}.attn.c_attn").slice(fused(2)),
            Rule::same("blocks.{}.attention.output", "transformer.h.{}.attn.c_proj"),
            Rule::same("blocks.{}.mlp.up", "transformer.h.{}.mlp.c_fc"),
            Rule::same("blocks.{}.mlp.down", "transformer.h.{}.mlp.c_proj"),
            Rule::same("blocks.{}.attention_norm", "transformer.h.{}.ln_1"),
            Rule::same("blocks.{}.mlp_norm", "transformer.h.{}.ln_2"),
            Rule::same("norm", "transformer.ln_f"),
            Rule::linear("head", "lm_head"),
        ],
    )
    .ignoring(&[".attn.bias", ".attn.masked_bias"])
}
