//! GGUF architectures of mixtures of experts. The experts of a layer are stacked, gate, up and down apart.

use serde_json::{Map, Value};

use super::architecture::{Architecture, head_dim, rotary, set};
use super::further_dense::put_granite_factors;
use super::hyperparameters::Hyperparameters;
use super::tensor_names::{tensor_names, with_rotary_pairs};
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{Rule, WeightMap};

pub(super) const MIXTURES: [Architecture; 5] = [
    Architecture {
        name: "qwen2moe",
        model_types: &["qwen2_moe"],
        class: "Qwen2MoeForCausalLM",
        fields: |metadata, config| {
            put_experts(metadata, config)?;
            set(config, "qkv_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            let shared = metadata.size("expert_shared_feed_forward_length")?;
            set(config, "shared_expert_intermediate_size", shared);
            rotary(metadata, config)
        },
        weights: |config| with_experts(tensor_names(), config),
    },
    Architecture {
        name: "qwen3moe",
        model_types: &["qwen3_moe"],
        class: "Qwen3MoeForCausalLM",
        fields: |metadata, config| {
            put_experts(metadata, config)?;
            // As llama.cpp does, whatever the model's configuration said.
            set(config, "norm_topk_prob", true);
            rotary(metadata, config)
        },
        weights: |config| with_experts(tensor_names(), config),
    },
    Architecture {
        name: "olmoe",
        model_types: &["olmoe"],
        class: "OlmoeForCausalLM",
        fields: |metadata, config| {
            put_experts(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |config| with_experts(tensor_names(), config),
    },
    Architecture {
        name: "granitemoe",
        model_types: &["granitemoe"],
        class: "GraniteMoeForCausalLM",
        fields: |metadata, config| {
            put_experts(metadata, config)?;
            put_granite_factors(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |config| with_rotary_pairs(with_experts(tensor_names(), config), config),
    },
    Architecture {
        name: "gpt-oss",
        model_types: &["gpt_oss"],
        class: "GptOssForCausalLM",
        fields: gpt_oss,
        weights: |config| {
            with_experts(tensor_names(), config).with([
                Rule::same("blocks.{}.mlp_norm", "blk.{}.post_attention_norm"),
                Rule::parameter("blocks.{}.attention.sinks", "blk.{}.attn_sinks.weight"),
            ])
        },
    },
];

fn gpt_oss(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    put_experts(metadata, config)?;
    let width = metadata.size("expert_feed_forward_length")?;
    set(config, "intermediate_size", width);
    set(config, "sliding_window", metadata.size("attention.sliding_window")?);
    let mut rope = metadata.rope_parameters(head_dim(config))?;
    // The ends of its ramp are no whole dimensions, which the file does not say.
    set(&mut rope, "truncate", false);
    set(config, "rope_parameters", rope);
    Ok(())
}

/// The numbers of experts.
pub(super) fn put_experts(
    metadata: &Hyperparameters<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), Error> {
    set(config, "num_experts", metadata.size("expert_count")?);
    set(config, "num_experts_per_tok", metadata.size("expert_used_count")?);
    if let Some(width) = metadata.opt_size("expert_feed_forward_length")? {
        set(config, "moe_intermediate_size", width);
    }
    Ok(())
}

/// The tensors of experts.
pub(super) fn with_experts(names: WeightMap, config: &ModelConfig) -> WeightMap {
    let count = config.experts.map_or(0, |experts| experts.count);
    let each = |ours, theirs, biases| Rule::stacked(ours, theirs, count).biases(biases);
    names.with([
        Rule::linear("blocks.{}.experts.router", "blk.{}.ffn_gate_inp"),
        each("blocks.{}.experts.each.{}.gate", "blk.{}.ffn_gate_exps.weight", "blk.{}.ffn_gate_exps.bias"),
        each("blocks.{}.experts.each.{}.up", "blk.{}.ffn_up_exps.weight", "blk.{}.ffn_up_exps.bias"),
        each("blocks.{}.experts.each.{}.down", "blk.{}.ffn_down_exps.weight", "blk.{}.ffn_down_exps.bias"),
        Rule::linear("blocks.{}.experts.shared_gate", "blk.{}.ffn_gate_inp_shexp"),
        Rule::linear("blocks.{}.experts.shared.gate", "blk.{}.ffn_gate_shexp"),
        Rule::linear("blocks.{}.experts.shared.up", "blk.{}.ffn_up_shexp"),
        Rule::linear("blocks.{}.experts.shared.down", "blk.{}.ffn_down_shexp"),
    ])
}
