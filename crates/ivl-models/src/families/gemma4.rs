//! Gemma 4, the text model.

use serde_json::{Map, Value, json};

use super::defaults::{Bias, Defaults, DerivedSize};
use super::gemma;
use super::llama;
use super::readers::{num_experts, put_experts, read_layer_kinds, stacked_rules};
use super::rope::RopeByKind;
use crate::Error;
use crate::config::{
    Activation, ExpertsConfig, FeedForward, KeyHeads, KeySource, LayerInputsConfig, LayerKind, ModelConfig,
    QkNorm, Wiring,
};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 262_144,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_layers: 30,
    num_heads: 8,
    num_kv_heads: DerivedSize::Fixed(4),
    head_dim: DerivedSize::Fixed(256),
    max_positions: 131_072,
    activation: Activation::GeluTanh,
    activation_field: "hidden_activation",
    tied: true,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Gemma 3 with plain norms, unscaled scores and normalised values. Its layers that see everything have wider heads and may take keys
/// for values; the last layers may read the keys of earlier ones; vectors of each token enter every layer; experts may stand beside
/// the feed-forward layers.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    if fields.opt_text("use_bidirectional_attention")? == Some("all") {
        return Err(
            fields.invalid("use_bidirectional_attention", "vision or null: a causal LM sees no later tokens")
        );
    }
    let mut config = DEFAULTS.read(fields)?;
    config.wiring = Wiring::Sandwich;
    config.scaled_blocks = true;
    config.embedding.scale = Some((config.hidden_size as f64).sqrt());
    config.embedding.softcap = fields.opt_positive("final_logit_softcapping")?;
    config.attention.scale = 1.0;
    config.attention.qk_norm = Some(QkNorm::Head);
    config.attention.value_norm = true;
    let window = fields.size_or("sliding_window", 512)?;
    read_layer_kinds(&mut config, fields, Some(window), |layer| (layer + 1) % 6 != 0)?;
    if let Some(last) = config.layers.last_mut() {
        last.kind = LayerKind::Full;
    }
    put_key_heads(&mut config, fields)?;
    share_keys(&mut config, fields)?;
    put_layer_inputs(&mut config, fields)?;
    // Checked by transformers even of models without experts.
    for field in ["num_experts", "top_k_experts", "moe_intermediate_size"] {
        if fields.has(field) {
            fields.count_or(field, 0)?;
        }
    }
    if fields.flag_or("enable_moe_block", false)? {
        fields.size("num_experts")?;
        let experts = ExpertsConfig {
            count: num_experts(fields, 1)?,
            per_token: fields.size("top_k_experts")?,
            intermediate_size: fields.size("moe_intermediate_size")?,
            renormalized: true,
            bias: false,
            scaled_router: true,
            shared: None,
        };
        put_experts(&mut config, fields, experts, |_| true)?;
        config.layers.iter_mut().for_each(|layer| layer.feed_forward = FeedForward::Both);
    }
    let json = rotary_fields(&config, fields)?;
    let rope = RopeByKind { full: 1e4, sliding: 1e4, sliding_field: None };
    rope.read_into(&mut config, &fields.within(&json, ""))?;
    Ok(config)
}

/// The key heads of layers that see everything, as published files describe them, or of any layer, as transformers 5.24 writes them.
fn put_key_heads(config: &mut ModelConfig, fields: &Fields<'_>) -> Result<(), Error> {
    let usual = KeyHeads { count: config.attention.num_kv_heads, dim: config.attention.head_dim };
    let one_projection = fields.flag_or("attention_k_eq_v", false)?;
    let is_full = |kind: LayerKind| kind == LayerKind::Full;
    if fields.is_absent("per_layer_config") {
        let count = if one_projection { fields.opt_size("num_global_key_value_heads")? } else { None };
        let dim = fields.size_or("global_head_dim", 512)?;
        let wide = KeyHeads { count: count.unwrap_or(usual.count), dim };
        for layer in config.layers.iter_mut().filter(|layer| is_full(layer.kind)) {
            layer.key_heads = Some(wide).filter(|wide| *wide != usual);
        }
    } else if let Some(own) = fields.opt_object("per_layer_config")? {
        let layers = config.layers.len();
        if !own.map().keys().all(|key| key.parse().is_ok_and(|index: usize| index < layers)) {
            return Err(fields.invalid("per_layer_config", format!("indices of {layers} layers")));
        }
        for (index, layer) in config.layers.iter_mut().enumerate() {
            layer.key_heads = key_heads_of(index, usual, &own)?.filter(|heads| *heads != usual);
        }
    }
    for full in [true, false] {
        let mut heads = config.layers.iter().filter(|layer| is_full(layer.kind) == full);
        let first = heads.next().map(|layer| layer.key_heads);
        if heads.any(|layer| Some(layer.key_heads) != first) {
            return Err(fields.invalid("per_layer_config", "the same heads for all layers of a type"));
        }
    }
    for layer in config.layers.iter_mut().filter(|layer| one_projection && is_full(layer.kind)) {
        layer.keys = KeySource::OneProjection;
    }
    Ok(())
}

/// What `per_layer_config` says of a layer, by its index with or without leading zeros.
fn key_heads_of(index: usize, usual: KeyHeads, own: &Fields<'_>) -> Result<Option<KeyHeads>, Error> {
    let is_own = |(key, _): &(&String, &Value)| key.parse() == Ok(index);
    let Some((key, value)) = own.map().iter().find(is_own) else { return Ok(None) };
    let Value::Object(settings) = value else { return Err(own.invalid(key, "an object")) };
    if !settings.keys().all(|name| ["head_dim", "num_key_value_heads"].contains(&name.as_str())) {
        return Err(own.invalid(key, "head_dim or num_key_value_heads: layers differ in nothing else"));
    }
    let settings = own.within(settings, "per_layer_config");
    let dim = settings.size_or("head_dim", usual.dim)?;
    Ok(Some(KeyHeads { count: settings.size_or("num_key_value_heads", usual.count)?, dim }))
}

/// The last layers read the keys and values of the last layer before them that is of their type.
fn share_keys(config: &mut ModelConfig, fields: &Fields<'_>) -> Result<(), Error> {
    let field = "num_kv_shared_layers";
    let (layers, shared) = (config.layers.len(), fields.count_or(field, 0)?);
    let is_wide = fields.flag_or("use_double_wide_mlp", false)?;
    let first = layers.saturating_sub(shared);
    let sees_all = |layer: usize| config.layers[layer].kind == LayerKind::Full;
    let sources: Option<Vec<usize>> = (first..layers)
        .map(|layer| (0..first).rfind(|&earlier| sees_all(earlier) == sees_all(layer)))
        .collect();
    let Some(sources) = sources else {
        return Err(fields.invalid(field, "layers of every type before those that share their keys"));
    };
    for (layer, source) in config.layers[first..].iter_mut().zip(sources) {
        layer.keys = KeySource::Layer(source);
        layer.intermediate_size = is_wide.then_some(2 * config.mlp.intermediate_size);
    }
    Ok(())
}

fn put_layer_inputs(config: &mut ModelConfig, fields: &Fields<'_>) -> Result<(), Error> {
    let width = fields.count_or("hidden_size_per_layer_input", 256)?;
    let vocab_size = fields.size_or("vocab_size_per_layer_input", 262_144)?;
    if width == 0 {
        return Ok(());
    }
    if width * config.layers.len() > 1 << 22 {
        return Err(fields.invalid("hidden_size_per_layer_input", "at most 4194304 in all layers together"));
    }
    if vocab_size < config.vocab_size {
        let expected = format!("at least {}, one vector for each token", config.vocab_size);
        return Err(fields.invalid("vocab_size_per_layer_input", expected));
    }
    config.layer_inputs = Some(LayerInputsConfig { vocab_size, width });
    Ok(())
}

/// `rope_parameters` with its default, and none of the fields that older families have for rotation.
fn rotary_fields(config: &ModelConfig, fields: &Fields<'_>) -> Result<Map<String, Value>, Error> {
    if !fields.is_absent("rope_scaling") {
        return Err(
            fields.invalid("rope_scaling", "absent: rope_parameters has the settings of each type of layer")
        );
    }
    let mut parameters = match fields.opt_object("rope_parameters")? {
        Some(given) => given.map().clone(),
        None => Map::from_iter([
            ("sliding_attention".to_owned(), json!({"rope_type": "default", "rope_theta": 1e4})),
            (
                "full_attention".to_owned(),
                json!({"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}),
            ),
        ]),
    };
    for (kind, full) in [("full_attention", true), ("sliding_attention", false)] {
        let is_used = config.layers.iter().any(|layer| (layer.kind == LayerKind::Full) == full);
        let has_theta = |own: &Value| own.get("rope_theta").is_some_and(Value::is_number);
        if is_used && !parameters.get(kind).is_some_and(has_theta) {
            return Err(fields.invalid("rope_parameters", format!("an object in `{kind}`, with rope_theta")));
        }
        if !is_used {
            parameters.remove(kind);
        }
    }
    Ok(Map::from_iter([("rope_parameters".to_owned(), Value::Object(parameters))]))
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    let first_shared = config.layers.iter().position(|layer| layer.keys.is_shared());
    let names = gemma::gemma3_weights(config).with([
        Rule::parameter("blocks.{}.scale", "model.layers.{}.layer_scalar"),
        Rule::same("layer_inputs.embedding", "model.embed_tokens_per_layer"),
        Rule::linear("layer_inputs.projection", "model.per_layer_model_projection"),
        Rule::same("layer_inputs.norm", "model.per_layer_projection_norm"),
        Rule::linear("blocks.{}.layer_input.gate", "model.layers.{}.per_layer_input_gate"),
        Rule::linear("blocks.{}.layer_input.output", "model.layers.{}.per_layer_projection"),
        Rule::same("blocks.{}.layer_input.norm", "model.layers.{}.post_per_layer_input_norm"),
        Rule::same("blocks.{}.both.mlp", "model.layers.{}.post_feedforward_layernorm_1"),
        Rule::same("blocks.{}.both.experts", "model.layers.{}.pre_feedforward_layernorm_2"),
        Rule::same("blocks.{}.both.experts_post", "model.layers.{}.post_feedforward_layernorm_2"),
        Rule::linear("blocks.{}.experts.router", "model.layers.{}.router.proj"),
        Rule::parameter("blocks.{}.experts.router_norm.weight", "model.layers.{}.router.scale"),
        Rule::parameter("blocks.{}.experts.factors", "model.layers.{}.router.per_expert_scale"),
    ]);
    let names = names.with(stacked_rules(
        config,
        "model.layers.{}.experts.gate_up_proj",
        "model.layers.{}.experts.down_proj",
    ));
    // Files hold keys of the layers that share those of others.
    names.ignoring_of_layers_from(
        "model.layers.",
        first_shared.unwrap_or(config.layers.len()),
        &["self_attn.k_proj", "self_attn.v_proj", "self_attn.k_norm", "self_attn.v_norm"],
    )
}
