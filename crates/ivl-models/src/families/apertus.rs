//! Apertus.

use serde_json::json;

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{Activation, ModelConfig, QkNorm};
use crate::families::weight_map::{Rule, WeightMap};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 131_072,
    intermediate_size: 14_336,
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 65_536,
    norm_eps: 1e-5,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Llama with xIELU in place of a gate, and a norm on each query and key head.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut map = fields.map().clone();
    if !fields.has("rope_parameters") {
        // What the configuration class puts in the place of an absent object.
        let parameters = json!({
            "rope_type": "llama3", "rope_theta": 1.2e7, "factor": 8.0, "original_max_position_embeddings": 8192,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        });
        map.insert("rope_parameters".to_owned(), parameters);
    }
    let is_xielu =
        fields.is_absent("hidden_act") || fields.opt_text("hidden_act").ok() == Some(Some("xielu"));
    if is_xielu {
        map.remove("hidden_act");
    }
    let rope = RopeDefaults { theta: 1.2e7, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(&fields.within(&map, ""), &DEFAULTS, &rope)?;
    if is_xielu {
        config.mlp.activation = Activation::XIelu;
    }
    config.mlp.gated = false;
    config.attention.qk_norm = Some(QkNorm::Head);
    Ok(config)
}

pub(super) fn weights(config: &ModelConfig) -> WeightMap {
    llama::weights(config).with([
        Rule::same("blocks.{}.attention_norm", "model.layers.{}.attention_layernorm"),
        Rule::same("blocks.{}.mlp_norm", "model.layers.{}.feedforward_layernorm"),
        Rule::same("blocks.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm"),
        Rule::same("blocks.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm"),
        Rule::same("blocks.{}.mlp.xielu.slopes", "model.layers.{}.mlp.act_fn"),
        Rule::scalars("blocks.{}.mlp.xielu.constants", "model.layers.{}.mlp.act_fn"),
    ])
}
