//! GGUF architectures of further dense models.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, head_dim, partly_rotary, rename, rotary, set, size_of};
use super::hyperparameters::Hyperparameters;
use super::tensor_names::{tensor_names, with_rotary_pairs, with_shifted_norm_weights};
use crate::Error;
use crate::families::weight_map::{OutputSlice, Rule};

pub(super) const FURTHER_DENSE: [Architecture; 15] = [
    Architecture {
        name: "granite",
        // Models with attention in every layer; the converter writes them so.
        model_types: &["granite", "granitemoehybrid"],
        class: "GraniteForCausalLM",
        fields: |metadata, config| {
            put_granite_factors(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |config| with_rotary_pairs(tensor_names(), config),
    },
    Architecture {
        name: "smollm3",
        model_types: &["smollm3"],
        class: "SmolLM3ForCausalLM",
        fields: rotary,
        weights: |config| with_rotary_pairs(tensor_names(), config),
    },
    Architecture {
        name: "olmo2",
        model_types: &["olmo2", "olmo3"],
        class: "Olmo2ForCausalLM",
        fields: olmo,
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "command-r",
        model_types: &["cohere"],
        class: "CohereForCausalLM",
        fields: |metadata, config| {
            put_logit_scale(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "cohere2",
        model_types: &["cohere2"],
        class: "Cohere2ForCausalLM",
        fields: |metadata, config| {
            put_logit_scale(metadata, config)?;
            put_windows(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "starcoder2",
        model_types: &["starcoder2"],
        class: "Starcoder2ForCausalLM",
        fields: |metadata, config| {
            rename(config, "layer_norm_eps", "norm_epsilon");
            set(config, "use_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "stablelm",
        model_types: &["stablelm"],
        class: "StableLmForCausalLM",
        fields: |metadata, config| {
            let parallel = metadata.opt_flag("use_parallel_residual")?.unwrap_or(true);
            set(config, "use_parallel_residual", parallel);
            set(config, "use_qkv_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "exaone4",
        model_types: &["exaone4"],
        class: "Exaone4ForCausalLM",
        fields: |metadata, config| {
            put_windows(metadata, config)?;
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "seed_oss",
        model_types: &["seed_oss"],
        class: "SeedOssForCausalLM",
        fields: |metadata, config| {
            set(config, "attention_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            set(config, "attention_out_bias", metadata.has_tensor("blk.0.attn_output.bias"));
            rotary(metadata, config)
        },
        weights: |_| tensor_names().with([Rule::same("blocks.{}.mlp_norm", "blk.{}.post_attention_norm")]),
    },
    Architecture {
        name: "arcee",
        model_types: &["arcee"],
        class: "ArceeForCausalLM",
        fields: rotary,
        weights: |config| with_rotary_pairs(tensor_names(), config),
    },
    Architecture {
        name: "ernie4_5",
        model_types: &["ernie4_5"],
        class: "Ernie4_5ForCausalLM",
        fields: |metadata, config| {
            set(config, "use_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "glm4",
        model_types: &["glm4"],
        class: "Glm4ForCausalLM",
        fields: |metadata, config| {
            set(config, "attention_bias", metadata.has_tensor("blk.0.attn_q.bias"));
            partly_rotary(metadata, config)
        },
        weights: |config| {
            let inner = config.mlp.intermediate_size;
            let half = |start| OutputSlice::Range { start, total: 2 * inner };
            tensor_names().with([
                Rule::linear("blocks.{}.mlp.gate", "blk.{}.ffn_up").slice(half(0)),
                Rule::linear("blocks.{}.mlp.up", "blk.{}.ffn_up").slice(half(inner)),
            ])
        },
    },
    Architecture {
        name: "nemotron",
        model_types: &["nemotron"],
        class: "NemotronForCausalLM",
        fields: |metadata, config| {
            config.remove("rms_norm_eps");
            rename(config, "layer_norm_eps", "norm_eps");
            partly_rotary(metadata, config)
        },
        weights: |_| with_shifted_norm_weights(tensor_names()),
    },
    Architecture {
        name: "mistral3",
        model_types: &["ministral3"],
        class: "Ministral3ForCausalLM",
        fields: mistral3,
        weights: |config| with_rotary_pairs(tensor_names(), config),
    },
    Architecture {
        name: "hunyuan-dense",
        model_types: &["hunyuan_v1_dense"],
        class: "HunYuanDenseV1ForCausalLM",
        fields: rotary,
        weights: |_| tensor_names(),
    },
];

/// OLMo 2, and OLMo 3 with its windows: its layers with a window stretch no rotation.
fn olmo(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    if metadata.opt_size("attention.sliding_window")?.is_none() {
        return rotary(metadata, config);
    }
    set(config, "model_type", "olmo3");
    set(config, "architectures", json!(["Olmo3ForCausalLM"]));
    put_windows(metadata, config)?;
    let full = metadata.rope_parameters(head_dim(config))?;
    let theta =
        metadata.opt_number("rope.freq_base_swa")?.map_or_else(|| full["rope_theta"].clone(), Value::from);
    let sliding = json!({ "rope_type": "default", "rope_theta": theta });
    set(config, "rope_parameters", json!({ "full_attention": full, "sliding_attention": sliding }));
    Ok(())
}

/// Ministral 3, and without its factor on queries Mistral Small 3.
fn mistral3(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    let mut rope = metadata.rope_parameters(head_dim(config))?;
    if let Some(beta) = metadata.opt_number("attention.temperature_scale")? {
        set(&mut rope, "llama_4_scaling_beta", beta);
    } else {
        set(config, "model_type", "mistral");
        set(config, "architectures", json!(["MistralForCausalLM"]));
        set(config, "sliding_window", Value::Null);
    }
    if let Some(all) = metadata.opt_number("rope.scaling.yarn_log_multiplier")?.filter(|all| *all != 0.0) {
        rope.remove("attention_factor");
        set(&mut rope, "mscale", 1.0);
        set(&mut rope, "mscale_all_dim", all);
    }
    set(config, "rope_parameters", rope);
    Ok(())
}

/// The factors of Granite and of its mixtures of experts.
pub(super) fn put_granite_factors(
    metadata: &Hyperparameters<'_>,
    config: &mut Map<String, Value>,
) -> Result<(), Error> {
    for (field, name) in [
        ("embedding_multiplier", "embedding_scale"),
        ("attention_multiplier", "attention.scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        if let Some(factor) = metadata.opt_number(name)? {
            set(config, field, factor);
        }
    }
    Ok(())
}

fn put_logit_scale(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    if let Some(scale) = metadata.opt_number("logit_scale")? {
        set(config, "logit_scale", scale);
    }
    Ok(())
}

/// A window on three layers of four, unless the file says otherwise.
fn put_windows(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    let window = metadata.opt_size("attention.sliding_window")?;
    let slides = metadata.sliding_layers(size_of(config, "num_hidden_layers"), 4)?;
    let kind = |slides| if slides && window.is_some() { "sliding_attention" } else { "full_attention" };
    set(config, "layer_types", slides.into_iter().map(kind).collect::<Vec<_>>());
    set(config, "sliding_window", window);
    Ok(())
}
