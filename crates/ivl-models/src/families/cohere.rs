//! Command R and Command A.

use super::defaults::{Bias, Defaults, DerivedSize};
use super::llama;
use super::readers::{read_layer_kinds, window};
use super::rope::RopeDefaults;
use crate::Error;
use crate::config::{LayerKind, ModelConfig, NormKind, RopePairing, Wiring};
use crate::fields::Fields;

const DEFAULTS: Defaults = Defaults {
    vocab_size: 256_000,
    hidden_size: 8192,
    intermediate_size: 22_528,
    num_layers: 40,
    num_heads: 64,
    head_dim: DerivedSize::DerivedIfAbsent,
    max_positions: 8192,
    norm_eps: 1e-5,
    norm_eps_field: "layer_norm_eps",
    tied: true,
    mlp_bias: Bias::Never,
    ..llama::DEFAULTS
};

/// Attention and feed-forward in parallel after one norm that centres, neighbours rotated together, scaled logits.
pub(super) fn cohere(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    if fields.opt_flag("use_qk_norm")? == Some(true) {
        return Err(fields.invalid("use_qk_norm", "false: ivl has no norms with weights for each head"));
    }
    parallel(fields, 5e5)
}

/// Cohere with a window on three layers of four, and no rotation in the others.
pub(super) fn cohere2(fields: &Fields<'_>) -> Result<ModelConfig, Error> {
    let mut config = parallel(fields, 1e4)?;
    let Some(window) = window(fields, Some(4096))? else {
        return Err(fields
            .invalid("sliding_window", "a size: transformers makes the mask of the window for any layers"));
    };
    let pattern = match fields.has("layer_types") {
        true => 1,
        false => fields.size_or("sliding_window_pattern", 4)?,
    };
    read_layer_kinds(&mut config, fields, Some(window), |layer| (layer + 1) % pattern != 0)?;
    for layer in &mut config.layers {
        layer.rope = layer.rope.take().filter(|_| layer.kind != LayerKind::Full);
    }
    Ok(config)
}

fn parallel(fields: &Fields<'_>, theta: f64) -> Result<ModelConfig, Error> {
    let rope = RopeDefaults { theta, pairing: RopePairing::Interleaved, ..RopeDefaults::default() };
    let mut config = llama::with_rope_defaults(fields, &DEFAULTS, &rope)?;
    config.norm.kind = NormKind::LayerWithoutBias;
    config.wiring = Wiring::Parallel { shared_norm: true };
    config.embedding.logit_scale = Some(fields.positive_or("logit_scale", 0.0625)?);
    Ok(config)
}
