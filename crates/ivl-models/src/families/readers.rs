//! Fields that several families have, and how they read.

use crate::Error;
use crate::config::{Activation, ExpertsConfig, FeedForward, LayerKind, Mixer, ModelConfig};
use crate::families::weight_map::{OutputSlice, Rule};
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
        Some("relu2") => Activation::Relu2,
        _ => {
            return Err(fields.invalid(
                field,
                "silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu or relu2",
            ));
        }
    })
}

/// The size of sliding windows, `default` if the file lacks it. Null means no window.
pub(super) fn window(fields: &Fields<'_>, default: Option<usize>) -> Result<Option<usize>, Error> {
    if fields.is_absent("sliding_window") { Ok(default) } else { fields.opt_size("sliding_window") }
}

/// Refuses a null in the place of the window's size, for families of which transformers makes the mask of the window whether or not
/// a layer has one.
pub(super) fn require_window(fields: &Fields<'_>, window: Option<usize>) -> Result<(), Error> {
    match window {
        Some(_) => Ok(()),
        None => Err(fields
            .invalid("sliding_window", "a size: transformers makes the mask of the window for any layers")),
    }
}

/// A sliding window on all layers or on none: these families read no `layer_types`.
pub(super) fn read_window_of_all(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    default: Option<usize>,
) -> Result<(), Error> {
    let kind = window(fields, default)?.map_or(LayerKind::Full, |window| LayerKind::Sliding { window });
    config.layers.iter_mut().for_each(|layer| layer.kind = kind);
    Ok(())
}

/// The kinds of `layers` layers, where `layer_types` has them.
pub(super) fn layer_types<'a>(fields: &Fields<'a>, layers: usize) -> Result<Option<Vec<&'a str>>, Error> {
    let types = fields.opt_texts("layer_types")?;
    if types.as_ref().is_some_and(|types| types.len() != layers) {
        return Err(fields.invalid("layer_types", format!("one entry for each of {layers} layers")));
    }
    Ok(types)
}

/// Sliding windows: `layer_types` where given (transformers 5), else `default` for each layer.
pub(super) fn read_layer_kinds(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    window: Option<usize>,
    default: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let types = layer_types(fields, config.layers.len())?;
    for (index, layer) in config.layers.iter_mut().enumerate() {
        layer.kind = match (types.as_ref().map(|types| types[index]), window) {
            (None, Some(window)) if default(index) => LayerKind::Sliding { window },
            (None | Some("full_attention" | "attention"), _) => LayerKind::Full,
            (Some("sliding_attention"), Some(window)) => LayerKind::Sliding { window },
            (Some("sliding_attention"), None) => {
                return Err(fields.invalid("sliding_window", SLIDING_LAYERS));
            }
            _ => return Err(fields.invalid("layer_types", "entries full_attention or sliding_attention")),
        };
    }
    Ok(())
}

/// Recurrent layers: those that `layer_types` names `name` or, without a list, of which `is_recurrent` is true. They are not rotated.
pub(super) fn put_mixers(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    name: &str,
    mixer: Mixer,
    is_recurrent: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let types = layer_types(fields, config.layers.len())?;
    for (index, layer) in config.layers.iter_mut().enumerate() {
        let recurrent = match types.as_ref().map(|types| types[index]) {
            None => is_recurrent(index),
            Some("full_attention") => false,
            Some(given) if given == name => true,
            Some(_) => {
                return Err(fields.invalid("layer_types", format!("entries full_attention or {name}")));
            }
        };
        if recurrent {
            (layer.mixer, layer.rope) = (mixer, None);
        }
    }
    if config.is_recurrent() && config.ropes().any(|rope| rope.scaling.depends_on_length()) {
        return Err(fields.invalid(
            "rope_parameters",
            "a rotation that does not change with the length of the text, since a state cannot follow it",
        ));
    }
    Ok(())
}

/// Positions that a convolution sees, bounded.
pub(super) fn convolution_kernel(fields: &Fields<'_>, field: &str, default: usize) -> Result<usize, Error> {
    match fields.size_or(field, default)? {
        kernel @ 2..=64 => Ok(kernel),
        _ => Err(fields.invalid(field, "from 2 to 64 positions")),
    }
}

pub(super) const SLIDING_LAYERS: &str =
    "a size that is switched on, since layer_types has layers with a sliding window";

/// Experts of every layer, as wide as the layer would be without them, of which the files say how many there are.
pub(super) fn put_experts_everywhere(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    [count, per_token]: [usize; 2],
    renormalized: bool,
) -> Result<(), Error> {
    let experts = ExpertsConfig {
        count: num_experts(fields, count)?,
        per_token: fields.size_or("num_experts_per_tok", per_token)?,
        intermediate_size: config.mlp.intermediate_size,
        renormalized,
        bias: false,
        scaled_router: false,
        shared: None,
    };
    put_experts(config, fields, experts, |_| true)
}

/// Puts experts into the blocks of which `is_sparse` is true.
pub(super) fn put_experts(
    config: &mut ModelConfig,
    fields: &Fields<'_>,
    experts: ExpertsConfig,
    is_sparse: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    if experts.per_token > experts.count {
        return Err(fields
            .invalid("num_experts_per_tok", format!("at most {}, the number of experts", experts.count)));
    }
    for (index, layer) in config.layers.iter_mut().enumerate() {
        layer.feed_forward = if is_sparse(index) { FeedForward::Experts } else { FeedForward::Dense };
    }
    config.experts = Some(experts);
    Ok(())
}

/// The number of experts, under either of its names.
pub(super) fn num_experts(fields: &Fields<'_>, default: usize) -> Result<usize, Error> {
    let field = if fields.is_absent("num_experts") { "num_local_experts" } else { "num_experts" };
    match fields.size_or(field, default)? {
        count if count <= 1024 => Ok(count),
        _ => Err(fields.invalid(field, "at most 1024 experts")),
    }
}

/// Experts that each have tensors of their own, as most files hold them: the names of gate, up and down.
pub(super) fn expert_rules([gate, up, down]: [&'static str; 3]) -> [Rule; 3] {
    [
        Rule::linear("blocks.{}.experts.each.{}.gate", gate),
        Rule::linear("blocks.{}.experts.each.{}.up", up),
        Rule::linear("blocks.{}.experts.each.{}.down", down),
    ]
}

/// Experts that are stacked in one tensor with gate and up, and one with down.
pub(super) fn stacked_rules(config: &ModelConfig, gate_up: &'static str, down: &'static str) -> [Rule; 3] {
    let (count, inner) = config.experts.map_or((0, 0), |experts| (experts.count, experts.intermediate_size));
    let half = |start| OutputSlice::Range { start, total: 2 * inner };
    [
        Rule::stacked("blocks.{}.experts.each.{}.gate", gate_up, count).slice(half(0)),
        Rule::stacked("blocks.{}.experts.each.{}.up", gate_up, count).slice(half(inner)),
        Rule::stacked("blocks.{}.experts.each.{}.down", down, count),
    ]
}
