//! Fields that several families have, and how they read.

use crate::Error;
use crate::config::{Activation, LayerKind};
use crate::fields::Fields;

/// Number of blocks, bounded.
pub(super) fn num_layers(fields: &Fields<'_>, field: &str, default: usize) -> Result<usize, Error> {
    match fields.size_or(field, default)? {
        layers if layers <= 4096 => Ok(layers),
        _ => Err(fields.invalid(field, "at most 4096 layers")),
    }
}

/// The width of a head where the configuration does not give it.
pub(super) fn default_head_dim(
    fields: &Fields<'_>,
    hidden: usize,
    heads: usize,
    field: &str,
) -> Result<usize, Error> {
    if !hidden.is_multiple_of(heads) {
        return Err(fields.invalid(field, format!("a divisor of the hidden size {hidden}")));
    }
    Ok(hidden / heads)
}

pub(super) fn activation(fields: &Fields<'_>, field: &str, default: Activation) -> Result<Activation, Error> {
    if fields.is_absent(field) {
        return Ok(default);
    }
    Ok(match fields.opt_text(field)? {
        Some("silu" | "swish") => Activation::Silu,
        Some("gelu" | "gelu_python") => Activation::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh") => Activation::GeluTanh,
        Some("quick_gelu") => Activation::QuickGelu,
        Some("relu") => Activation::Relu,
        _ => {
            return Err(fields
                .invalid(field, "silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu or relu"));
        }
    })
}

/// The size of sliding windows, `default` if the file lacks it. Null means no window.
pub(super) fn window(fields: &Fields<'_>, default: Option<usize>) -> Result<Option<usize>, Error> {
    if fields.is_absent("sliding_window") { Ok(default) } else { fields.opt_size("sliding_window") }
}

/// A sliding window on all layers or on none: these families read no `layer_types`.
pub(super) fn window_of_all(
    fields: &Fields<'_>,
    layers: usize,
    default: Option<usize>,
) -> Result<Vec<LayerKind>, Error> {
    let kind = window(fields, default)?.map_or(LayerKind::Full, |window| LayerKind::Sliding { window });
    Ok(vec![kind; layers])
}

/// Sliding windows: `layer_types` where given (transformers 5), else `default` for each layer.
pub(super) fn layer_kinds(
    fields: &Fields<'_>,
    layers: usize,
    window: Option<usize>,
    default: impl Fn(usize) -> bool,
) -> Result<Vec<LayerKind>, Error> {
    let Some(types) = fields.opt_texts("layer_types")? else {
        let kind = |layer| match window {
            Some(window) if default(layer) => LayerKind::Sliding { window },
            _ => LayerKind::Full,
        };
        return Ok((0..layers).map(kind).collect());
    };
    if types.len() != layers {
        return Err(fields.invalid("layer_types", format!("one entry for each of {layers} layers")));
    }
    let parse = |name: &&str| match (*name, window) {
        ("full_attention" | "attention", _) => Ok(LayerKind::Full),
        ("sliding_attention", Some(window)) => Ok(LayerKind::Sliding { window }),
        ("sliding_attention", None) => Err(fields.invalid("sliding_window", SLIDING_LAYERS)),
        _ => Err(fields.invalid("layer_types", "entries full_attention or sliding_attention")),
    };
    types.iter().map(parse).collect()
}

pub(super) const SLIDING_LAYERS: &str =
    "a size that is switched on, since layer_types has layers with a sliding window";
