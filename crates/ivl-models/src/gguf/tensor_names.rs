//! The names that tensors have in GGUF files.

use crate::config::ModelConfig;
use crate::families::weight_map::{OutputSlice, Rule, StoredNumbers, WeightMap};

/// The names that all architectures share. A linear layer is `[output, input]`, whatever it is in the checkpoint that the file was
/// made from.
pub(super) fn tensor_names() -> WeightMap {
    WeightMap::new(
        "",
        vec![
            Rule::same("embedding", "token_embd"),
            Rule::same("position_embedding", "position_embd"),
            Rule::linear("blocks.{}.attention.query", "blk.{}.attn_q"),
            Rule::linear("blocks.{}.attention.key", "blk.{}.attn_k"),
            Rule::linear("blocks.{}.attention.value", "blk.{}.attn_v"),
            Rule::linear("blocks.{}.attention.output", "blk.{}.attn_output"),
            Rule::linear("blocks.{}.mlp.gate", "blk.{}.ffn_gate"),
            Rule::linear("blocks.{}.mlp.up", "blk.{}.ffn_up"),
            Rule::linear("blocks.{}.mlp.down", "blk.{}.ffn_down"),
            Rule::linear("head", "output"),
        ]
        .into_iter()
        .chain(NORMS.map(|(ours, theirs)| Rule::same(ours, theirs)))
        .collect(),
    )
    .ignoring(&[".rope_freqs.", ".rope_factors_short.", ".rope_factors_long.", ".attn_rot_embd."])
}

const NORMS: [(&str, &str); 7] = [
    ("norm", "output_norm"),
    ("blocks.{}.attention_norm", "blk.{}.attn_norm"),
    ("blocks.{}.mlp_norm", "blk.{}.ffn_norm"),
    ("blocks.{}.attention_post_norm", "blk.{}.post_attention_norm"),
    ("blocks.{}.mlp_post_norm", "blk.{}.post_ffw_norm"),
    ("blocks.{}.attention.query_norm", "blk.{}.attn_q_norm"),
    ("blocks.{}.attention.key_norm", "blk.{}.attn_k_norm"),
];

/// Queries and keys of which the two dimensions that a rotation turns together are neighbours.
pub(super) fn with_rotary_pairs(names: WeightMap, config: &ModelConfig) -> WeightMap {
    let pairs = OutputSlice::RotaryPairs { width: config.attention.head_dim };
    names.with([
        Rule::linear("blocks.{}.attention.query", "blk.{}.attn_q").slice(pairs),
        Rule::linear("blocks.{}.attention.key", "blk.{}.attn_k").slice(pairs),
    ])
}

/// Norms whose weights are stored with 1 added, so that they multiply as they are.
pub(super) fn with_shifted_norms(names: WeightMap) -> WeightMap {
    names.with(NORMS.map(|(ours, theirs)| Rule::same(ours, theirs).numbers(StoredNumbers::PlusOne)))
}

/// As [`with_shifted_norms`], where biases are stored as they are.
pub(super) fn with_shifted_norm_weights(names: WeightMap) -> WeightMap {
    let shifted = |ours, theirs| Rule::parameter(ours, theirs).numbers(StoredNumbers::PlusOne);
    names.with([
        shifted("norm.weight", "output_norm.weight"),
        shifted("blocks.{}.attention_norm.weight", "blk.{}.attn_norm.weight"),
        shifted("blocks.{}.mlp_norm.weight", "blk.{}.ffn_norm.weight"),
    ])
}
