//! SmolLM3.

use super::defaults::{Defaults, DerivedSize};
use super::llama;
use super::readers::{read_layer_kinds, window};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::ModelConfig;
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 128_256,
    hidden_size: 2048,
    num_layers: 36,
    num_heads: 16,
    num_kv_heads: DerivedSize::DerivedIfNull(4),
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 32_768,
    tied: true,
    ..llama::DEFAULTS
};

/// Llama without rotation in every fourth layer, which may also have a window.
pub(super) fn config(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta: 2e6, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    let layers = config.layers.len();
    let interval = fields.size_or("no_rope_layer_interval", 4)?;
    let rotated: Vec<bool> = match fields.opt_counts("no_rope_layers")? {
        Some(flags) if flags.len() >= layers => flags.into_iter().map(|flag| flag != 0).collect(),
        Some(_) => {
            return Err(fields.invalid("no_rope_layers", format!("one entry for each of {layers} layers")));
        }
        None => (0..layers).map(|layer| (layer + 1) % interval != 0).collect(),
    };
    let (window, uses) = (window(fields, None)?, fields.flag_or("use_sliding_window", false)?);
    read_layer_kinds(&mut config, fields, window, |layer| uses && !rotated[layer])?;
    for (layer, rotated) in config.layers.iter_mut().zip(rotated) {
        layer.rope = layer.rope.take().filter(|_| rotated);
    }
    Ok(config)
}
