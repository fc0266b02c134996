//! GGUF architectures of further dense models.

use serde_json::{Map, Value};

use super::architecture::{Architecture, rename, rotary, set, size_of};
use super::hyperparameters::Hyperparameters;
use super::tensor_names::{tensor_names, with_rotary_pairs};
use crate::Error;
use crate::families::weight_map::Rule;

pub(super) const FURTHER_DENSE: [Architecture; 11] = [
    Architecture {
        name: "granite",
        model_types: &["granite"],
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
        model_types: &["olmo2"],
        class: "Olmo2ForCausalLM",
        fields: rotary,
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
];

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
