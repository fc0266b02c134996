//! EXAONE 4.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{read_layer_kinds, window};
use crate::Error;
use crate::config::{LayerKind, ModelConfig, QkNorm, Wiring};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 102_400,
    intermediate_size: 16_384,
    num_kv_heads: DerivedSize::Fixed(32),
    head_dim: DerivedSize::DerivedIfAbsent,
    norm_eps: 1e-5,
    attention_bias: Bias::Never,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// OLMo 2 with a norm on each query and key head. Where some layers have a window, the others do not rotate.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = llama::with_rope(fields, &DEFAULTS)?;
    config.wiring = Wiring::PostNorm;
    config.attention.qk_norm = Some(QkNorm::Head);
    let window = window(fields, Some(4096))?;
    let pattern = match (fields.has("layer_types"), window) {
        (true, _) => 1,
        (false, Some(_)) => fields.size_or("sliding_window_pattern", 4)?,
        (false, None) => return Err(fields.invalid("layer_types", "a list, where sliding_window is null")),
    };
    read_layer_kinds(&mut config, fields, window, |layer| (layer + 1) % pattern != 0)?;
    for layer in config.layers.iter_mut().filter(|layer| window.is_some() && layer.kind == LayerKind::Full) {
        layer.rope = None;
    }
    Ok(config)
}
