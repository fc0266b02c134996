//! The architectures of GGUF files: how each is written, as departures from what most do.
//!
//! To add one: an entry in [`DENSE`] or in the list of another kind of model, with the fields that its family reads beside the
//! common ones, and the layout of the tensors that converters change.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, head_dim, rename, rotary, set, size_of};
use super::config_metadata::ConfigMetadata;
use super::file::Gguf;
use super::further_dense::FURTHER_DENSE;
use super::gemma4::GEMMA4;
use super::hyperparameters::Hyperparameters;
use super::metadata_writer::MetadataWriter;
use super::mixtures::{MIXTURES, put_experts, with_experts};
use super::recurrent::RECURRENT;
use super::tensor_names::{tensor_names, with_rotary_pairs, with_shifted_norms};
use crate::Error;
use crate::config::{ModelConfig, Wiring};
use crate::families::weight_map::{OutputSlice, Rule, WeightMap};

fn architectures() -> impl Iterator<Item = &'static Architecture> {
    DENSE.iter().chain(&FURTHER_DENSE).chain([&GEMMA4]).chain(&MIXTURES).chain(&RECURRENT)
}

const DENSE: [Architecture; 10] = [
    Architecture {
        name: "llama",
        model_types: &["llama", "mistral", "mixtral"],
        class: "LlamaForCausalLM",
        fields: llama,
        weights: |config| with_rotary_pairs(with_experts(tensor_names(), config), config),
    },
    Architecture {
        name: "qwen2",
        model_types: &["qwen2"],
        class: "Qwen2ForCausalLM",
        fields: rotary,
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "qwen3",
        model_types: &["qwen3"],
        class: "Qwen3ForCausalLM",
        fields: rotary,
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "gemma",
        model_types: &["gemma"],
        class: "GemmaForCausalLM",
        fields: |metadata, config| {
            set(config, "hidden_act", "gelu_pytorch_tanh");
            set(config, "hidden_activation", "gelu_pytorch_tanh");
            rotary(metadata, config)
        },
        weights: |_| with_shifted_norms(tensor_names()),
    },
    Architecture {
        name: "gemma2",
        model_types: &["gemma2"],
        class: "Gemma2ForCausalLM",
        fields: gemma2,
        weights: |_| with_shifted_norms(tensor_names()),
    },
    Architecture {
        name: "gemma3",
        model_types: &["gemma3_text"],
        class: "Gemma3ForCausalLM",
        fields: gemma3,
        weights: |_| with_shifted_norms(tensor_names()),
    },
    Architecture {
        name: "phi2",
        model_types: &["phi"],
        class: "PhiForCausalLM",
        fields: |metadata, config| {
            set(config, "hidden_act", "gelu_new");
            rotary(metadata, config)
        },
        weights: |_| tensor_names(),
    },
    Architecture {
        name: "phi3",
        model_types: &["phi3"],
        class: "Phi3ForCausalLM",
        fields: phi3,
        weights: |config| {
            let [query, key, value] = fused_qkv(config);
            let inner = config.mlp.intermediate_size;
            let gate_up = |start| OutputSlice::Range { start, total: 2 * inner };
            tensor_names().with([
                query,
                key,
                value,
                Rule::linear("blocks.{}.mlp.gate", "blk.{}.ffn_up").slice(gate_up(0)),
                Rule::linear("blocks.{}.mlp.up", "blk.{}.ffn_up").slice(gate_up(inner)),
            ])
        },
    },
    Architecture {
        name: "gpt2",
        model_types: &["gpt2"],
        class: "GPT2LMHeadModel",
        fields: |_, config| {
            name_as_gpt2(config);
            Ok(())
        },
        weights: |config| tensor_names().with(fused_qkv(config)),
    },
    Architecture {
        name: "gptneox",
        model_types: &["gpt_neox"],
        class: "GPTNeoXForCausalLM",
        fields: |metadata, config| {
            set(config, "hidden_act", "gelu");
            set(config, "use_parallel_residual", metadata.opt_flag("use_parallel_residual")?.unwrap_or(true));
            set(config, "attention_bias", metadata.has_tensor("blk.0.attn_qkv.bias"));
            rotary(metadata, config)
        },
        weights: |config| tensor_names().with(fused_qkv(config)),
    },
];

impl Architecture {
    /// The architecture of a file.
    ///
    /// # Errors
    /// [`Error::UnknownArchitecture`] for one outside the table.
    pub(crate) fn of(gguf: &Gguf) -> Result<&'static Self, Error> {
        let key = "general.architecture";
        let got = gguf.metadata().text(key)?;
        if let Some(kind) = gguf.metadata().opt_text("general.type")?
            && kind != "model"
        {
            return Err(gguf
                .metadata()
                .invalid("general.type", "model: a file with all weights of a language model"));
        }
        architectures().find(|known| known.name == got).ok_or_else(|| Error::UnknownArchitecture {
            path: gguf.path().to_owned(),
            field: key,
            got: got.to_owned(),
            known: architectures().map(|known| known.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The architecture in which models of a family are written.
    pub(crate) fn for_family(model_type: &str) -> Option<&'static Self> {
        architectures().find(|known| known.model_types.contains(&model_type))
    }

    /// The `config.json` that a file stands for.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::InvalidField`] or [`Error::MissingTensor`] name what is missing or means nothing to ivl.
    pub(crate) fn config(&self, gguf: &Gguf) -> Result<Map<String, Value>, Error> {
        let metadata = Hyperparameters::new(gguf, self.name);
        let mut config = metadata.config(self.model_types[0], self.class)?;
        (self.fields)(&metadata, &mut config)?;
        if metadata.has_experts()? && !config.contains_key("num_experts") {
            return Err(
                metadata.invalid("expert_count", "0: ivl reads no mixtures of experts of this architecture")
            );
        }
        Ok(config)
    }

    /// Writes the metadata of a model, and returns the tensors that go with it: divisors of rotary frequencies, by name.
    pub(crate) fn write_config(
        &self,
        config: &ModelConfig,
        context: usize,
        metadata: &mut MetadataWriter,
    ) -> Vec<(&'static str, Vec<f32>)> {
        let mut writer = ConfigMetadata::new(self.name, metadata);
        writer.write(config, context);
        match self.name {
            "gptneox" | "stablelm" => {
                writer.flag("use_parallel_residual", config.wiring != Wiring::PreNorm);
            }
            "command-r" | "cohere2" => {
                if let Some(scale) = config.embedding.logit_scale {
                    writer.number("logit_scale", scale);
                }
            }
            "granite" | "granitemoe" => {
                let logits = config.embedding.logit_scale.map(f64::recip);
                for (name, factor) in [
                    ("embedding_scale", config.embedding.scale),
                    ("attention.scale", Some(config.attention.scale)),
                    ("residual_scale", config.residual_scale),
                    ("logit_scale", logits),
                ] {
                    if let Some(factor) = factor {
                        writer.number(name, factor);
                    }
                }
            }
            "mistral3" => writer.scaled_queries(config),
            "gemma4" => writer.layer_inputs(config),
            _ => {}
        }
        writer.factors
    }

    /// Names and layout of the tensors of a model.
    pub(crate) fn weights(&self, config: &ModelConfig) -> WeightMap {
        (self.weights)(config)
    }
}

/// Llama, Mistral with its window, and Mixtral with its experts.
fn llama(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    if metadata.has_experts()? {
        set(config, "model_type", "mixtral");
        set(config, "architectures", json!(["MixtralForCausalLM"]));
        put_experts(metadata, config)?;
        return rotary(metadata, config);
    }
    if let Some(window) = metadata.opt_size("attention.sliding_window")? {
        set(config, "model_type", "mistral");
        set(config, "architectures", json!(["MistralForCausalLM"]));
        set(config, "sliding_window", window);
    }
    rotary(metadata, config)
}

fn gemma2(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    set(config, "hidden_activation", "gelu_pytorch_tanh");
    for (field, name, default) in [
        ("attn_logit_softcapping", "attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", "final_logit_softcapping", 30.0),
    ] {
        set(config, field, metadata.opt_number(name)?.unwrap_or(default));
    }
    set(config, "sliding_window", metadata.opt_size("attention.sliding_window")?.unwrap_or(4096));
    // The file does not say by what scores are scaled. Only the model of 27 billion parameters has another scale than its heads.
    set(config, "query_pre_attn_scalar", query_scalar(config, 46));
    rotary(metadata, config)
}

/// What scores are divided by the root of: the width of a head, but that of an even share in the largest model of a family.
fn query_scalar(config: &Map<String, Value>, layers_of_largest: usize) -> usize {
    if size_of(config, "num_hidden_layers") == layers_of_largest {
        size_of(config, "hidden_size") / size_of(config, "num_attention_heads")
    } else {
        head_dim(config)
    }
}

fn gemma3(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    set(config, "hidden_activation", "gelu_pytorch_tanh");
    if let Some(cap) = metadata.opt_number("final_logit_softcapping")? {
        set(config, "final_logit_softcapping", cap);
    }
    set(config, "query_pre_attn_scalar", query_scalar(config, 62));
    let window = metadata.opt_size("attention.sliding_window")?;
    let slides = metadata.sliding_layers(size_of(config, "num_hidden_layers"), 6)?;
    let kind = |slides| if slides && window.is_some() { "sliding_attention" } else { "full_attention" };
    set(config, "layer_types", slides.into_iter().map(kind).collect::<Vec<_>>());
    if let Some(window) = window {
        set(config, "sliding_window", window);
    }
    let mut full = metadata.rope_parameters(head_dim(config))?;
    if metadata.opt_number("rope.freq_base")?.is_none() {
        set(&mut full, "rope_theta", 1e6);
    }
    let local = metadata.opt_number("rope.freq_base_swa")?.unwrap_or(1e4);
    let sliding = json!({ "rope_type": "default", "rope_theta": local });
    set(config, "rope_parameters", json!({ "full_attention": full, "sliding_attention": sliding }));
    Ok(())
}

fn phi3(metadata: &Hyperparameters<'_>, config: &mut Map<String, Value>) -> Result<(), Error> {
    let window = metadata.opt_number("attention.sliding_window")?.filter(|window| *window > 0.0);
    if window.is_some() {
        set(config, "sliding_window", metadata.size("attention.sliding_window")?);
    }
    if let Some(original) = metadata.opt_size("rope.scaling.original_context_length")? {
        set(config, "original_max_position_embeddings", original);
    }
    rotary(metadata, config)
}

/// Gives the fields of a configuration the names that GPT-2 has for them.
fn name_as_gpt2(config: &mut Map<String, Value>) {
    for (from, to) in [
        ("hidden_size", "n_embd"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
        ("intermediate_size", "n_inner"),
        ("layer_norm_eps", "layer_norm_epsilon"),
    ] {
        rename(config, from, to);
    }
    config.remove("num_key_value_heads");
    config.remove("mlp_bias");
    set(config, "activation_function", "gelu_new");
}

/// Query, key and value in one tensor, one after the other.
fn fused_qkv(config: &ModelConfig) -> [Rule; 3] {
    let attention = &config.attention;
    let (heads, kv) = (attention.num_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim);
    let part = |ours, start| {
        Rule::linear(ours, "blk.{}.attn_qkv").slice(OutputSlice::Range { start, total: heads + 2 * kv })
    };
    [
        part("blocks.{}.attention.query", 0),
        part("blocks.{}.attention.key", heads),
        part("blocks.{}.attention.value", heads + kv),
    ]
}
