//! Every field of every family against transformers: `tests/fixtures/make_config_fixtures.py` made the table.

use std::path::Path;

use serde_json::{Map, Value, json};

use ivl_models::config::{
    Activation, KeySource, LayerConfig, LayerKind, Mixer, ModelConfig, NormKind, QkNorm, RopeConfig,
    RopePairing, Wiring,
};
use ivl_models::families::{FAMILIES, read_config};

/// Lengths of the texts for which the table has frequencies.
const SHORT: usize = 2;
const LONG: usize = 48;

/// The entry of the table for a model.
fn describe(config: &ModelConfig) -> Map<String, Value> {
    let attention = &config.attention;
    let layer = |of: fn(&LayerConfig) -> Value| config.layers.iter().map(of).collect::<Vec<_>>();
    let windows = layer(|layer| match layer.kind {
        LayerKind::Full => Value::Null,
        LayerKind::Sliding { window } => json!(window),
    });
    let norm_kind = match config.norm.kind {
        NormKind::Rms => "rms",
        NormKind::RmsUnitOffset => "rms_unit_offset",
        NormKind::Layer => "layer",
        NormKind::LayerUnitOffset => "layer_unit_offset",
        NormKind::LayerWithoutBias => "layer_without_bias",
    };
    let said = json!({
        "vocab_size": config.vocab_size, "hidden_size": config.hidden_size, "layers": config.layers.len(),
        "windows": windows, "heads": attention.num_heads, "kv_heads": attention.num_kv_heads,
        "head_dim": attention.head_dim, "qkv_bias": attention.qkv_bias, "output_bias": attention.output_bias,
        "qk_norm": attention.qk_norm.is_some(), "all_heads_norm": attention.qk_norm == Some(QkNorm::AllHeads),
        "scale": attention.scale, "scale_by_layer": attention.scale_by_layer, "softcap": attention.softcap,
        "query_scale": attention.query_scale.map(|scale| json!([scale.beta, scale.original])),
        "intermediate_size": config.mlp.intermediate_size, "mlp_bias": config.mlp.bias, "gated": config.mlp.gated,
        "activation": match config.mlp.activation {
            Activation::Silu => "silu", Activation::Gelu => "gelu", Activation::GeluTanh => "gelu_tanh",
            Activation::QuickGelu => "quick_gelu", Activation::Relu => "relu", Activation::Relu2 => "relu2",
            Activation::XIelu => "xielu", Activation::ClampedSwiGlu { .. } => "clamped_swiglu",
        },
    });
    let rest = json!({
        "norm_eps": config.norm.eps, "norm_kind": norm_kind,
        "parallel": matches!(config.wiring, Wiring::Parallel { .. }),
        "embedding_scale": config.embedding.scale.unwrap_or(1.0), "residual_scale": config.residual_scale.unwrap_or(1.0),
        "logit_scale": config.embedding.logit_scale.unwrap_or(1.0),
        "tied": config.embedding.tied, "head_bias": config.embedding.head_bias,
        "final_softcap": config.embedding.softcap, "causal": true,
        "sparse_layers": layer(|layer| json!(layer.feed_forward.has_experts())),
        "rotated_layers": layer(|layer| json!(layer.rope.is_some())),
    });
    let mut said = said.as_object().cloned().unwrap_or_default();
    said.extend(rest.as_object().cloned().unwrap_or_default());
    if let Activation::ClampedSwiGlu { alpha, limit } = config.mlp.activation {
        said.insert("swiglu".to_owned(), json!([alpha, limit]));
    }
    said.insert("sinks".to_owned(), json!(attention.sinks));
    said.insert("value_norm".to_owned(), json!(attention.value_norm));
    said.insert("scaled_blocks".to_owned(), json!(config.scaled_blocks));
    let inputs = config.layer_inputs.map(|inputs| json!([inputs.vocab_size, inputs.width]));
    said.insert("layer_inputs".to_owned(), json!(inputs));
    said.extend(sizes_of_layers(config));
    if let Some(experts) = config.experts {
        let shared = experts.shared.map(|shared| shared.intermediate_size);
        let routing = json!({
            "experts": experts.count, "per_token": experts.per_token, "expert_size": experts.intermediate_size,
            "shared_size": shared, "renormalized": experts.renormalized,
        });
        said.extend(routing.as_object().cloned().unwrap_or_default());
    }
    said.insert("mixers".to_owned(), Value::from(layer(|layer| mixer(&layer.mixer))));
    said.insert("output_gate".to_owned(), json!(attention.output_gate));
    let of_kind = |full: bool| {
        let layer = config
            .layers
            .iter()
            .find(|layer| layer.rope.is_some() && (layer.kind == LayerKind::Full) == full);
        layer.and_then(|layer| layer.rope.as_deref())
    };
    let (full, sliding) = (of_kind(true), of_kind(false));
    if let Some(rope) = full.or(sliding) {
        said.insert("rotated".to_owned(), json!(rope.dim));
        said.insert("interleaved".to_owned(), json!(rope.pairing == RopePairing::Interleaved));
        said.insert("frequencies".to_owned(), json!(some_frequencies(rope, SHORT)));
        said.insert("long_frequencies".to_owned(), json!(some_frequencies(rope, LONG)));
        said.insert("attention_scaling".to_owned(), json!(rope.frequencies(SHORT).1));
    }
    if let (Some(_), Some(rope)) = (full, sliding) {
        said.insert("sliding_frequencies".to_owned(), json!(some_frequencies(rope, SHORT)));
        said.insert("sliding_attention_scaling".to_owned(), json!(rope.frequencies(SHORT).1));
    }
    said
}

fn sizes_of_layers(config: &ModelConfig) -> Map<String, Value> {
    let layer = |of: &dyn Fn(&LayerConfig) -> Value| config.layers.iter().map(of).collect::<Value>();
    let heads = |layer: &LayerConfig| {
        let own = config.attention_of(layer);
        json!([own.num_kv_heads, own.head_dim])
    };
    let keys = |layer: &LayerConfig| match layer.keys {
        KeySource::Projections => json!("own"),
        KeySource::OneProjection => json!("one"),
        KeySource::Layer(earlier) => json!(earlier),
    };
    let mlp = |layer: &LayerConfig| json!(config.mlp_of(layer).map(|mlp| mlp.intermediate_size));
    Map::from_iter([
        ("key_heads".to_owned(), layer(&heads)),
        ("keys".to_owned(), layer(&keys)),
        ("mlp_sizes".to_owned(), layer(&mlp)),
    ])
}

fn mixer(mixer: &Mixer) -> Value {
    match mixer {
        Mixer::Attention => Value::Null,
        Mixer::ShortConvolution(own) => json!([own.kernel, own.bias]),
        Mixer::DeltaNet(own) => {
            json!([own.key_heads, own.value_heads, own.key_dim, own.value_dim, own.kernel])
        }
    }
}

/// At most eight frequencies, as many apart as the table has them.
fn some_frequencies(rope: &RopeConfig, len: usize) -> Vec<f32> {
    let (all, _) = rope.frequencies(len);
    all.iter().step_by((all.len() / 8).max(1)).copied().collect()
}

/// Equal; numbers up to the digits of the table and the order of f32 operations.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= 1e-5 * a.abs().max(b.abs())
        }
        _ => a == b,
    }
}

/// Each was run in transformers 5.24, to see that the field has no part in what it refuses:
///
/// - The first releases of Phi-3 call LongRoPE `su`, a name that it no longer takes.
/// - It checks sizes of Mamba layers of models that have none.
/// - Its grouped products of experts take no width whose rows are no multiple of 16 bytes, such as 30. (OLMoE fails elsewhere.)
/// - For Mixtral without `head_dim` it does not derive the width of a head where it stretches contexts.
/// - Two layers of Qwen3.5 have no attention that the table could describe; transformers runs them.
/// - It checks the type of a window that is switched off.
fn is_accepted_on_purpose(family: &str, json: &Map<String, Value>) -> bool {
    let scaling = json.get("rope_scaling").and_then(|scaling| scaling.get("type"));
    let mamba = json.get("hidden_size") != Some(&json!(32)) || !json.contains_key("mamba_n_heads");
    let is_off = json.get("use_sliding_window").is_none_or(|used| used == false);
    let derives_head_dim = json.get("head_dim").is_none_or(Value::is_null);
    let is_odd = [30, 34].iter().any(|width| json.get("hidden_size") == Some(&json!(width)));
    let is_mixture =
        ["qwen2_moe", "qwen3_moe", "qwen3_5_moe_text", "mixtral", "olmoe", "gpt_oss", "granitemoe"]
            .contains(&family);
    family == "phi3" && scaling == Some(&json!("su"))
        || family == "granitemoehybrid" && mamba
        || family.starts_with("qwen3_5") && json.get("num_hidden_layers") == Some(&json!(2))
        || is_mixture && family != "olmoe" && is_odd
        || ["qwen2_moe", "qwen3_moe"].contains(&family)
            && is_off
            && json.get("sliding_window") == Some(&json!("8"))
        || family == "mixtral"
            && derives_head_dim
            && json.get("rope_scaling").is_some_and(|scaling| !scaling.is_null())
}

/// Models that ivl does not run, states of texts whose rotation changes with their length, rotary parameters for each kind of layer
/// where transformers ignores them, and settings that fit no model: heads of width 1, a projection that is not as wide as its input,
/// no experts, a gate that is zero, activations that gpt-oss names and does not use. Kinds of layers of LFM2 by a name that no published
/// model has, and a rotated part that is null. A table of vectors for each layer that has fewer than there are tokens.
fn is_refused_on_purpose(family: &str, json: &Map<String, Value>) -> bool {
    let rope = json.get("rope_scaling").or_else(|| json.get("rope_parameters"));
    let rope = rope.and_then(|rope| rope.get("rope_type").or_else(|| rope.get("type")));
    let follows_length = rope == Some(&json!("dynamic")) || rope == Some(&json!("longrope"));
    let is_true = |field: &str| json.get(field) == Some(&Value::Bool(true));
    family == "phi" && is_true("tie_word_embeddings")
        || (family == "lfm2" || family.starts_with("qwen3_5")) && follows_length
        || family == "lfm2" && json.get("layer_types").is_some_and(|types| types[0] == "attention")
        || family.starts_with("qwen3_5") && json.get("partial_rotary_factor") == Some(&Value::Null)
        || family == "gemma4_text" && !json.contains_key("vocab_size")
        || family == "gpt2" && is_true("add_cross_attention")
        || family == "cohere" && is_true("use_qk_norm")
        || family == "stablelm" && is_true("qk_layernorm")
        || ["olmo3", "mixtral", "granitemoe"].contains(&family) && !json.contains_key("num_attention_heads")
        || family == "olmoe" && json.get("clip_qkv").is_some_and(|bound| !bound.is_null())
        || family.contains("_moe") && json.get("num_experts") == Some(&json!(0))
        || family == "gpt_oss" && is_refused_gpt_oss(json)
        || family == "helium" && !json.contains_key("hidden_size")
        || json.get("rope_parameters").is_some_and(|rope| rope.get("full_attention").is_some())
}

fn is_refused_gpt_oss(json: &Map<String, Value>) -> bool {
    let is_zero = |field: &str| json.get(field) == Some(&json!(0.0));
    is_zero("swiglu_alpha")
        || is_zero("swiglu_limit")
        || json.contains_key("hidden_act")
        || json.get("partial_rotary_factor") == Some(&json!(0.25))
}

#[test]
fn every_field_is_read_as_transformers_reads_it() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let table = std::fs::read(fixtures.join("config_cases.json")).expect("the table");
    let table: Map<String, Value> = serde_json::from_slice(&table).expect("JSON");
    let mut expected: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
    let mut tables: Vec<&str> = table.keys().map(String::as_str).collect();
    expected.sort_unstable();
    tables.sort_unstable();
    assert_eq!(tables, expected, "a table for each family");
    let (mut checked, mut wrong) = (0, Vec::new());
    for (family, entry) in &table {
        let empty = Vec::new();
        for case in entry["cases"].as_array().expect("cases") {
            let mut json = entry["config"].as_object().expect("a configuration").clone();
            json.insert("model_type".to_owned(), json!(family));
            for field in case["unset"].as_array().unwrap_or(&empty) {
                json.remove(field.as_str().expect("a name"));
            }
            json.extend(case["set"].as_object().expect("fields").clone());
            let what = format!("{family} {} without {}", case["set"], case["unset"]);
            let ours = read_config(&json, Path::new("config.json")).map(|(_, config)| describe(&config));
            match (ours, case["expect"].as_object()) {
                (Err(_), None) => {}
                (Ok(ours), Some(changed)) => {
                    let mut expected = entry["expect"].as_object().expect("a model").clone();
                    expected.extend(changed.clone());
                    for (name, value) in expected {
                        let got = ours.get(&name).unwrap_or(&Value::Null);
                        if !same(got, &value) {
                            wrong.push(format!("{what}: {name} is {got}, expected {value}"));
                        }
                    }
                }
                (Ok(_), None) if is_accepted_on_purpose(family, &json) => {}
                (Err(_), Some(_)) if is_refused_on_purpose(family, &json) => {}
                (Ok(_), None) => wrong.push(format!("{what}: accepted, transformers refuses")),
                (Err(error), Some(_)) => wrong.push(format!("{what}: refused: {error}")),
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 1000, "{checked} cases");
}
