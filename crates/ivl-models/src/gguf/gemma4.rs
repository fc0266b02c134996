//! The GGUF architecture of Gemma 4, whose layers differ in their heads and widths.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, set, size_of};
use super::hyperparameters::Hyperparameters;
use super::metadata::MetadataValue;
use super::tensor_names::tensor_names;
use crate::Error;
use crate::config::ModelConfig;
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};

pub(super) const GEMMA4: Architecture = Architecture {
    name: "gemma4",
    model_types: &["gemma4_text"],
    class: "Gemma4ForCausalLM",
    fields: gemma4,
    weights: gemma4_weights,
};

fn gemma4(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    set(config, "hidden_activation", "gelu_pytorch_tanh");
    if let Some(cap) = metadata.opt_number("final_logit_softcapping")? {
        set(config, "final_logit_softcapping", cap);
    }
    let layers = size_of(config, "num_hidden_layers");
    let slides = metadata.sliding_layers(layers, 6)?;
    let full = slides.iter().position(|slides| !slides).unwrap_or_default();
    let kind = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
    set(config, "layer_types", slides.iter().map(kind).collect::<Vec<_>>());
    set(config, "sliding_window", metadata.size("attention.sliding_window")?);

    let wide = metadata.size("attention.key_length")?;
    set(config, "global_head_dim", wide);
    set(config, "head_dim", metadata.opt_size("attention.key_length_swa")?.unwrap_or(wide));
    let has_values = metadata.has_tensor(&format!("blk.{full}.attn_v.weight"));
    set(config, "attention_k_eq_v", !has_values);
    if let Some(heads) = sizes(metadata, "attention.head_count_kv") {
        let own =
            |full: bool| heads.iter().zip(&slides).find(|(_, slides)| **slides != full).map(|(own, _)| *own);
        if let Some(sliding) = own(false) {
            set(config, "num_key_value_heads", sliding);
        }
        set(config, "num_global_key_value_heads", own(true));
    }
    let shared = metadata.opt_number("attention.shared_kv_layers")?.unwrap_or(0.0) as usize;
    set(config, "num_kv_shared_layers", shared);
    let inner = sizes(metadata, "feed_forward_length").unwrap_or_default();
    let is_wide = inner.first().zip(inner.last()).is_some_and(|(first, last)| first != last);
    set(config, "use_double_wide_mlp", is_wide);

    let width = metadata.opt_number("embedding_length_per_layer_input")?.unwrap_or(0.0) as usize;
    set(config, "hidden_size_per_layer_input", width);
    if let Some([rows, _]) = metadata.gguf.tensor("per_layer_token_embd.weight").map(|tensor| tensor.shape) {
        set(config, "vocab_size_per_layer_input", *rows);
    }
    if metadata.has_experts()? {
        set(config, "enable_moe_block", true);
        set(config, "num_experts", metadata.size("expert_count")?);
        set(config, "top_k_experts", metadata.size("expert_used_count")?);
        set(config, "moe_intermediate_size", metadata.size("expert_feed_forward_length")?);
    }
    let local = metadata.opt_number("rope.freq_base_swa")?.unwrap_or(1e4);
    let sliding = json!({ "rope_type": "default", "rope_theta": local });
    let full = metadata.proportional_rotation(wide)?;
    set(config, "rope_parameters", json!({ "full_attention": full, "sliding_attention": sliding }));
    Ok(())
}

/// A list of a size for each layer, if there is one.
fn sizes(metadata: &Hyperparameters<'_>, name: &str) -> Option<Vec<i64>> {
    let Some(MetadataValue::Array(list)) = metadata.gguf.metadata().get(&metadata.key(name)) else {
        return None;
    };
    Some(list.integers()?.collect())
}

fn gemma4_weights(config: &ModelConfig) -> WeightMap {
    let first_shared = config.layers.iter().position(|layer| layer.keys.is_shared());
    let (count, inner) = config.experts.map_or((0, 0), |experts| (experts.count, experts.intermediate_size));
    let half = |ours, start| {
        Rule::stacked(ours, "blk.{}.ffn_gate_up_exps.weight", count)
            .slice(OutputSlice::Range { start, total: 2 * inner })
    };
    tensor_names()
        .with([
            Rule::parameter("blocks.{}.scale", "blk.{}.layer_output_scale.weight"),
            Rule::same("layer_inputs.embedding", "per_layer_token_embd"),
            Rule::linear("layer_inputs.projection", "per_layer_model_proj"),
            Rule::same("layer_inputs.norm", "per_layer_proj_norm"),
            Rule::linear("blocks.{}.layer_input.gate", "blk.{}.inp_gate"),
            Rule::linear("blocks.{}.layer_input.output", "blk.{}.proj"),
            Rule::same("blocks.{}.layer_input.norm", "blk.{}.post_norm"),
            Rule::same("blocks.{}.both.mlp", "blk.{}.post_ffw_norm_1"),
            Rule::same("blocks.{}.both.experts", "blk.{}.pre_ffw_norm_2"),
            Rule::same("blocks.{}.both.experts_post", "blk.{}.post_ffw_norm_2"),
            Rule::linear("blocks.{}.experts.router", "blk.{}.ffn_gate_inp"),
            Rule::parameter("blocks.{}.experts.router_norm.weight", "blk.{}.ffn_gate_inp.scale"),
            Rule::parameter("blocks.{}.experts.factors", "blk.{}.ffn_down_exps.scale"),
            half("blocks.{}.experts.each.{}.gate", 0),
            half("blocks.{}.experts.each.{}.up", inner),
            Rule::stacked("blocks.{}.experts.each.{}.down", "blk.{}.ffn_down_exps.weight", count),
        ])
        .ignoring_of_layers_from(
            "blk.",
            first_shared.unwrap_or(config.layers.len()),
            &["attn_k.", "attn_v.", "attn_k_norm."],
        )
}
