//! GGUF architectures with recurrent layers.

use serde_json::{Map, Value};

use super::architecture::{Architecture, partly_rotary, rename, rotary, set, size_of};
use super::hyperparameters::Hyperparameters;
use super::mixtures::{put_experts, with_experts};
use super::tensor_names::{tensor_names, with_shifted_norms};
use crate::Error;
use crate::config::{DeltaNetConfig, Mixer, ModelConfig};
use crate::families::weight_map::{OutputSlice, Rule, StoredNumbers, WeightMap};

pub(super) const RECURRENT: [Architecture; 3] = [
    Architecture {
        name: "qwen35moe",
        model_types: &["qwen3_5_moe_text"],
        class: "Qwen3_5MoeForCausalLM",
        fields: |metadata, config| {
            put_experts(metadata, config)?;
            let shared = metadata.size("expert_shared_feed_forward_length")?;
            set(config, "shared_expert_intermediate_size", shared);
            qwen35(metadata, config)
        },
        weights: |config| with_experts(qwen35_weights(config), config),
    },
    Architecture {
        name: "qwen35",
        model_types: &["qwen3_5_text"],
        class: "Qwen3_5ForCausalLM",
        fields: qwen35,
        weights: qwen35_weights,
    },
    Architecture {
        name: "lfm2",
        model_types: &["lfm2"],
        class: "Lfm2ForCausalLM",
        fields: lfm2,
        weights: |_| {
            tensor_names().with([
                Rule::same("norm", "token_embd_norm"),
                Rule::linear("blocks.{}.convolution.input", "blk.{}.shortconv.in_proj"),
                Rule::linear("blocks.{}.convolution.filter", "blk.{}.shortconv.conv"),
                Rule::linear("blocks.{}.convolution.output", "blk.{}.shortconv.out_proj"),
            ])
        },
    },
];

fn kinds(recurrent: Vec<bool>, name: &str) -> Value {
    let kind = |recurrent| if recurrent { name } else { "full_attention" };
    recurrent.into_iter().map(kind).collect()
}

fn qwen35(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    // Layers that predict further tokens are counted, and follow the others.
    let all = size_of(config, "num_hidden_layers");
    let further = metadata.opt_number("nextn_predict_layers")?.unwrap_or(0.0) as usize;
    let layers = all.saturating_sub(further);
    set(config, "num_hidden_layers", layers);
    let mut recurrent =
        metadata.layer_flags(["attention.recurrent_layers", "full_attention_interval"], all, 4)?;
    recurrent.truncate(layers);
    set(config, "layer_types", kinds(recurrent, "linear_attention"));
    let heads = metadata.size("ssm.time_step_rank")?;
    for (field, size) in [
        ("linear_conv_kernel_dim", metadata.size("ssm.conv_kernel")?),
        ("linear_key_head_dim", metadata.size("ssm.state_size")?),
        ("linear_num_key_heads", metadata.size("ssm.group_count")?),
        ("linear_num_value_heads", heads),
        ("linear_value_head_dim", metadata.size("ssm.inner_size")? / heads),
    ] {
        set(config, field, size);
    }
    partly_rotary(metadata, config)
}

/// Heads of values are stored by their place beside a head of keys.
fn qwen35_weights(config: &ModelConfig) -> WeightMap {
    let delta = config.layers.iter().find_map(|layer| match layer.mixer {
        Mixer::DeltaNet(delta) => Some(delta),
        _ => None,
    });
    let names = with_shifted_norms(tensor_names()).with([Rule::same(
        "blocks.{}.mlp_norm",
        "blk.{}.post_attention_norm",
    )
    .numbers(StoredNumbers::PlusOne)]);
    let names = names.ignoring_layers_from("blk.", config.layers.len());
    let Some(delta) = delta else { return names };
    let DeltaNetConfig { key_heads, value_heads, key_dim, value_dim, .. } = delta;
    let order = |start, width| OutputSlice::Regrouped {
        start,
        width,
        groups: key_heads,
        per_group: value_heads / key_heads,
    };
    let values = order(2 * key_heads * key_dim, value_dim);
    names.with([
        Rule::linear("blocks.{}.delta.mixed", "blk.{}.attn_qkv").slice(values),
        Rule::linear("blocks.{}.delta.filter", "blk.{}.ssm_conv1d").slice(values),
        Rule::linear("blocks.{}.delta.gate", "blk.{}.attn_gate").slice(order(0, value_dim)),
        Rule::linear("blocks.{}.delta.forget", "blk.{}.ssm_alpha").slice(order(0, 1)),
        Rule::linear("blocks.{}.delta.strength", "blk.{}.ssm_beta").slice(order(0, 1)),
        Rule::parameter("blocks.{}.delta.decay.rate", "blk.{}.ssm_a")
            .slice(order(0, 1))
            .numbers(StoredNumbers::NegativeExponential),
        Rule::parameter("blocks.{}.delta.decay.bias", "blk.{}.ssm_dt.bias").slice(order(0, 1)),
        Rule::same("blocks.{}.delta.norm", "blk.{}.ssm_norm"),
        Rule::linear("blocks.{}.delta.output", "blk.{}.ssm_out").inputs(order(0, value_dim)),
    ])
}

fn lfm2(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    let attends = metadata.layers_with("attention.head_count_kv");
    let attends = attends.filter(|layers| layers.len() == size_of(config, "num_hidden_layers"));
    let attends = attends.ok_or_else(|| {
        metadata.invalid("attention.head_count_kv", "a number for each layer, 0 for short convolutions")
    })?;
    set(config, "layer_types", kinds(attends.into_iter().map(|attends| !attends).collect(), "conv"));
    set(config, "conv_L_cache", metadata.size("shortconv.l_cache")?);
    // The width is that of the layers.
    set(config, "block_auto_adjust_ff_dim", false);
    rename(config, "rms_norm_eps", "norm_eps");
    rotary(metadata, config)
}
