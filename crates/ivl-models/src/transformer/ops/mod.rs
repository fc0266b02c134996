//! The operations of the layers. Layers call the functions of this module, and only these decide what computes them:
//!
//! | activations | computed by |
//! |---|---|
//! | numbers on the host, in a packed network | [`host`]: kernels of the CPU, with no tensors in between |
//! | f32 tensors of the CPU under autodiff | [`differentiable`]: the same kernels as nodes of Burn's graph |
//! | all other tensors | [`backend`]: Burn's operations, but attention over f32 on the CPU, which is [`host`]'s |
//!
//! Products of tensors decide in [`matmul`], since [`backend`] calls them too.
//!
//! A new operation is a function here and up to three implementations. `tests/parity.rs` and `tests/gradients.rs` compare
//! the implementations.

mod activations;
mod backend;
mod convolution;
mod delta_rule;
mod differentiable;
mod host;
mod host_buffer;
mod matmul;
mod numbers;
mod params;
mod positions;
mod rotation;
mod routing;

pub(super) use activations::Activations;
pub(super) use convolution::convolve;
pub(super) use delta_rule::delta_rule;
pub use differentiable::{constant, with_gradient};
pub(super) use matmul::{product, transposed_product};
pub(super) use numbers::{Numbers, host_tensor};
pub(super) use params::{
    DecayParams, FilterParams, LinearParams, LowRankParams, NormParams, SinkParams, XIeluParams, kv_format_of,
};
pub(super) use positions::{
    columns, multiply, one_after_the_other, parts, positions, scale_by, scaled_tensor, sigmoid_gate,
};
pub(super) use rotation::{PositionFactors, Rotation};
pub(super) use routing::{Routing, gate_positions, rows, zeros_like};

use burn::tensor::Tensor;
use ivl_core::cache::{KvCache, KvFormat};
use ivl_kernels::Matrix;

use self::activations::HostRows;
use super::mask::Mask;
use crate::config::{Activation, AttentionConfig};

/// `x W + b + scale x A B` for several layers that read the same input.
///
/// # Shapes
/// - `x`: `[batch, seq, input]`
/// - output: for each layer `[batch, seq, output]`
pub(super) fn linear<const N: usize>(layers: [LinearParams<'_>; N], x: &Activations) -> [Activations; N] {
    match x {
        Activations::Tensor(x) => backend::linear(layers, (**x).clone()).map(Activations::from),
        Activations::Host(x) => match packed_weights(&layers) {
            Some(matrices) => host::linear(layers, matrices, x).map(Activations::Host),
            // Merging adapters into a weight drops its packed form.
            None => backend::linear(layers, x.to_tensor()).map(|y| Activations::Host(HostRows::new(y))),
        },
    }
}

/// The weights laid out for kernels, if those of all layers are.
fn packed_weights<'a, const N: usize>(layers: &[LinearParams<'a>; N]) -> Option<[&'a Matrix; N]> {
    let mut matrices = [None; N];
    for (matrix, layer) in matrices.iter_mut().zip(layers) {
        *matrix = Some(layer.packed?);
    }
    Some(matrices.map(|matrix| matrix.expect("the loop sets each or returns")))
}

/// Says which layers read their input next: the kernels have the first of their weights brought nearer in the meantime. It changes no
/// number, and does nothing for layers that are not packed.
pub(super) fn expect<const N: usize>(layers: [LinearParams<'_>; N]) {
    if let Some(matrices) = packed_weights(&layers) {
        ivl_kernels::expect(&matrices);
    }
}

/// Says that a product with this weight comes next; see [`expect`].
pub(super) fn expect_packed(weight: &Matrix) {
    ivl_kernels::expect(&[weight]);
}

/// `x W` with a packed weight.
///
/// # Shapes
/// - `x`: `[n, input]`
/// - output: `[n, output]`
pub(super) fn packed_product(x: Tensor<2>, weight: &Matrix) -> Tensor<2> {
    host::product(x, weight)
}

/// Normalises over the last axis or, where the weights are narrower, over each head in it.
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads * width]`
/// - weights: `[width]`
pub(super) fn norm(params: NormParams<'_>, x: &Activations) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(host::norm(params, x)),
        Activations::Tensor(x) => {
            let [batch, seq, width] = x.dims();
            let x = (**x).clone();
            if width == params.width() {
                return norm_tensor(params, x).into();
            }
            let heads: Tensor<4> = x.reshape([batch, seq, width / params.width(), params.width()]);
            norm_tensor(params, heads).reshape([batch, seq, width]).into()
        }
    }
}

fn norm_tensor<const D: usize>(params: NormParams<'_>, x: Tensor<D>) -> Tensor<D> {
    differentiable::norm(params, &x).unwrap_or_else(|| backend::norm(params, x))
}

/// `act(gate) * up`, or `act(gate)`.
///
/// # Shapes
/// - inputs and output: `[batch, seq, width]`
pub(super) fn gate(activation: Activation, gate: Activations, up: Option<Activations>) -> Activations {
    let gate = match gate {
        Activations::Host(gate) => return Activations::Host(host::gate(activation, gate, up)),
        Activations::Tensor(gate) => *gate,
    };
    if let (Activation::ClampedSwiGlu { alpha, limit }, Some(up)) = (activation, &up) {
        return backend::clamped_swiglu([alpha, limit], gate, up.clone().into_tensor()).into();
    }
    let kernel = host::kernel(activation);
    let Some(up) = up.map(Activations::into_tensor) else {
        let activated = kernel.and_then(|kernel| differentiable::activate(kernel, &gate));
        return activated.unwrap_or_else(|| backend::activate(activation, gate)).into();
    };
    let gated = kernel.and_then(|kernel| differentiable::gate(kernel, &gate, &up));
    gated.unwrap_or_else(|| backend::activate(activation, gate) * up).into()
}

/// xIELU of `x`: see [`XIeluParams`].
///
/// # Shapes
/// - `x` and output: `[batch, seq, width]`
pub(super) fn xielu(params: XIeluParams<'_>, x: Activations) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(host::xielu(params, x)),
        Activations::Tensor(x) => backend::xielu(params, *x).into(),
    }
}

/// Rotates each pair of each head by its angle; dimensions beyond the pairs stay.
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads * head_dim]`
pub(super) fn rotate(rotation: &Rotation, heads: usize, x: Activations) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(host::rotate(rotation, heads, x)),
        Activations::Tensor(x) => {
            let [batch, seq, width] = x.dims();
            let x = x.reshape([batch, seq, heads, width / heads]);
            let rotated =
                differentiable::rotate(rotation, &x).unwrap_or_else(|| backend::rotate(rotation, x));
            rotated.reshape([batch, seq, width]).into()
        }
    }
}

/// Multiplies each position by its factor.
///
/// # Shapes
/// - `x` and output: `[batch, seq, width]`
pub(super) fn scale_positions(factors: &PositionFactors, x: Activations) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(host::scale_positions(factors, x)),
        Activations::Tensor(x) => {
            let factors = factors.like(&x);
            (*x * factors).into()
        }
    }
}

/// Divides each head of `width` numbers by its root mean square.
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads * width]`
pub(super) fn unit_rms(x: Activations, width: usize, eps: f64) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(host::unit_rms(x, width, eps as f32)),
        Activations::Tensor(x) => {
            let [batch, seq, all] = x.dims();
            let heads: Tensor<4> = x.reshape([batch, seq, all / width, width]);
            backend::unit_rms(heads, eps).reshape([batch, seq, all]).into()
        }
    }
}

/// `softmax(scale * Q K^T) V` over the cached and the new positions, whose keys and values are put into the cache; without new ones,
/// over a cache that has them already. A head with a sink gives that score a share of the weights, and no value.
///
/// # Shapes
/// - queries and output: `[batch, seq, heads * head_dim]`
/// - keys and values: `[batch, seq, kv_heads * head_dim]`
/// - sinks: `[heads]`
///
/// `format` is that of the cache of activations on the host; tensors are cached as they are.
pub(super) fn attend(
    config: &AttentionConfig,
    scale: f64,
    sinks: Option<SinkParams<'_>>,
    query: Activations,
    new: Option<[Activations; 2]>,
    mask: &Mask,
    (cache, format): (&mut KvCache, KvFormat),
) -> Activations {
    match query {
        Activations::Host(query) => {
            let new = new.map(|new| new.map(Activations::into_host));
            Activations::Host(host::attend(config, scale, sinks, query, new, mask, (cache, format)))
        }
        Activations::Tensor(query) => {
            let (keys, values) = match new {
                Some(new) => {
                    let by_head = |x: Activations| backend::by_head(x.into_tensor(), config.num_kv_heads);
                    let [key, value] = new.map(by_head);
                    cache.append(key, value)
                }
                None => cache.held().expect("an earlier layer has put its keys there"),
            };
            let cached = [&keys, &values];
            let mixed = match sinks {
                // The kernel has no derivatives by sinks.
                Some(_) => None,
                None => differentiable::attend(config, scale, &query, cached, mask),
            };
            let mixed = mixed.or_else(|| host::attend_tensors(config, scale, sinks, &query, cached, mask));
            mixed
                .unwrap_or_else(|| backend::attend(config, scale, sinks, *query, [keys, values], mask))
                .into()
        }
    }
}
