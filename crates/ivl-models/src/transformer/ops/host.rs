//! The operations by kernels of the CPU, on numbers in the memory of the host.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use ivl_core::cache::{KvCache, KvFormat};
use ivl_core::tokens::is_host;
use ivl_kernels::{
    ActivationFn, GroupedQueryAttention, KeysAndValues, Matrix, Normalization, products, products_of,
};

use super::activations::{Activations, HostRows};
use super::backend;
use super::host_buffer::{HostBuffer, keys_and_values};
use super::numbers::{Numbers, host_tensor};
use super::params::{
    LinearParams, LowRankParams, NormParams, SinkParams, XIeluParams, attention_kernel, normalization,
};
use super::rotation::{PositionFactors, Rotation};
use crate::config::{Activation, AttentionConfig};
use crate::transformer::mask::Mask;

/// See [`linear`](super::linear); `matrices` are the weights.
pub(super) fn linear<const N: usize>(
    layers: [LinearParams<'_>; N],
    matrices: [&Matrix; N],
    x: &HostRows,
) -> [HostRows; N] {
    // The first matrices of updates read the same rows.
    let updates = layers.map(|layer| layer.low_rank?.packed);
    let downs = updates.iter().flatten().map(|[down, _]| *down);
    let matrices: Vec<&Matrix> = matrices.into_iter().chain(downs).collect();
    let mut found = products_of(&x.numbers, &matrices).into_iter();
    let mut outputs = layers.map(|_| x.with(found.next().expect("an output for each matrix")));
    for ((y, layer), packed) in outputs.iter_mut().zip(layers).zip(updates) {
        match (layer.low_rank, packed) {
            (Some(update), Some([_, up])) => {
                add_update(y, &found.next().expect("an output for each matrix"), up, update);
            }
            (Some(update), None) => {
                y.add(Numbers::new(backend::low_rank(update, &x.to_tensor())).as_slice());
            }
            (None, _) => {}
        }
        if let Some(bias) = layer.bias {
            let bias = Numbers::new(bias.val());
            let bias = bias.as_slice();
            for row in y.numbers.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
    outputs
}

/// Adds `scale x A B` to the rows that are updated; `inner` is `x A` of all rows.
fn add_update(y: &mut HostRows, inner: &[f32], up: &Matrix, update: LowRankParams<'_>) {
    let ([rank, output], seq) = (up.shape(), y.seq.max(1));
    let every = if update.alternates { 2 } else { 1 };
    let updated = inner.chunks(seq * rank).step_by(every).flatten();
    let inner: Vec<f32> = updated.map(|x| x * update.scale as f32).collect();
    let [added] = products(&inner, [up]);
    let rows = y.numbers.chunks_mut(seq * output).step_by(every);
    for (y, added) in rows.zip(added.chunks(seq * output)) {
        y.iter_mut().zip(added).for_each(|(y, added)| *y += added);
    }
}

/// See [`packed_product`](super::packed_product).
pub(super) fn product(x: Tensor<2>, weight: &Matrix) -> Tensor<2> {
    let ([rows, _], device) = (x.dims(), x.device());
    let [y] = products(Numbers::new(x).as_slice(), [weight]);
    host_tensor(y, [rows, weight.shape()[1]], &device)
}

/// See [`norm`](super::norm).
///
/// # Panics
/// If the norm is not packed.
pub(super) fn norm(params: NormParams<'_>, x: &HostRows) -> HostRows {
    let [weight, bias] = params.packed.expect("the norms of a packed network are packed");
    x.with(normalization(params.config, weight, bias).apply(&x.numbers, params.config.eps as f32))
}

/// See [`unit_rms`](super::unit_rms).
pub(super) fn unit_rms(x: HostRows, width: usize, eps: f32) -> HostRows {
    let ones = vec![1.0; width];
    x.with(Normalization::Rms { weight: &ones, offset: 0.0 }.apply(&x.numbers, eps))
}

/// See [`gate`](super::gate).
pub(super) fn gate(activation: Activation, mut gate: HostRows, up: Option<Activations>) -> HostRows {
    let up = up.map(Activations::into_host);
    if let (Activation::ClampedSwiGlu { alpha, limit }, Some(up)) = (activation, &up) {
        clamped_swiglu([alpha as f32, limit as f32], &mut gate.numbers, &up.numbers);
        return gate;
    }
    match (kernel(activation), up) {
        (Some(kernel), Some(up)) => kernel.apply_to(&mut gate.numbers, &up.numbers),
        (Some(kernel), None) => kernel.apply(&mut gate.numbers),
        (None, up) => {
            match activation {
                Activation::Relu => gate.numbers.iter_mut().for_each(|x| *x = x.max(0.0)),
                Activation::Relu2 => gate.numbers.iter_mut().for_each(|x| *x = x.max(0.0) * x.max(0.0)),
                _ => gate = HostRows::new(backend::activate(activation, gate.into_tensor())),
            }
            if let Some(up) = up {
                gate.numbers.iter_mut().zip(up.numbers).for_each(|(x, up)| *x *= up);
            }
        }
    }
    gate
}

/// See [`clamped_swiglu`](backend::clamped_swiglu).
fn clamped_swiglu([alpha, limit]: [f32; 2], gate: &mut [f32], up: &[f32]) {
    for (x, up) in gate.iter_mut().zip(up) {
        let gate = x.min(limit);
        *x = (up.clamp(-limit, limit) + 1.0) * gate / (1.0 + (-alpha * gate).exp());
    }
}

/// The kernel of the CPU for an activation, if there is one.
pub(super) fn kernel(activation: Activation) -> Option<ActivationFn> {
    match activation {
        Activation::Silu => Some(ActivationFn::Silu),
        Activation::GeluTanh => Some(ActivationFn::GeluTanh),
        Activation::QuickGelu => Some(ActivationFn::QuickGelu),
        Activation::Gelu
        | Activation::Relu
        | Activation::Relu2
        | Activation::XIelu
        | Activation::ClampedSwiGlu { .. } => None,
    }
}

/// See [`rotate`](super::rotate).
pub(super) fn rotate(rotation: &Rotation, heads: usize, mut x: HostRows) -> HostRows {
    rotation.kernel(heads, x.width() / heads).rotate(&mut x.numbers);
    x
}

/// See [`scale_positions`](super::scale_positions).
pub(super) fn scale_positions(factors: &PositionFactors, mut x: HostRows) -> HostRows {
    let width = x.width();
    for (row, factor) in x.numbers.chunks_exact_mut(width).zip(factors.factors.iter().cycle()) {
        for x in row {
            *x *= factor;
        }
    }
    x
}

/// See [`xielu`](super::xielu).
pub(super) fn xielu(params: XIeluParams<'_>, mut x: HostRows) -> HostRows {
    let number = |param: &Param<Tensor<1>>| Numbers::of(param).as_slice()[0];
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let (beta, eps) = (number(params.beta), number(params.eps));
    let (alpha_p, alpha_n) = (softplus(number(params.alpha_p)), beta + softplus(number(params.alpha_n)));
    for x in &mut x.numbers {
        let bent = if *x > 0.0 { alpha_p * *x * *x } else { alpha_n * (x.min(eps).exp_m1() - *x) };
        *x = bent + beta * *x;
    }
    x
}

/// See [`attend`](super::attend). The kernel reads keys and values where the cache keeps them.
pub(super) fn attend(
    config: &AttentionConfig,
    scale: f64,
    sinks: Option<SinkParams<'_>>,
    query: HostRows,
    new: Option<[HostRows; 2]>,
    mask: &Mask,
    (cache, format): (&mut KvCache, KvFormat),
) -> HostRows {
    let unpacked = sinks.filter(|sinks| sinks.packed.is_none()).map(|sinks| Numbers::of(sinks.scores));
    let sinks = sinks.and_then(|sinks| sinks.packed).or(unpacked.as_ref().map(Numbers::as_slice));
    let kernel = GroupedQueryAttention { sinks, ..attention_kernel(config, scale) };
    let (batch, device) = (query.batch, Device::flex());
    let mut mixed = Vec::new();
    let seen = mask.seen(batch);
    let shape = [batch, kernel.kv_heads, new.as_ref().map_or(0, |[key, _]| key.seq), kernel.dim];
    cache.extend_in_place(shape, &device, format, |buffers, len| {
        let mut buffers = buffers.map(HostBuffer::new);
        let [keys, values] = &mut buffers;
        if let Some([key, value]) = &new {
            keys.append(&kernel, batch, len, &key.numbers);
            values.append(&kernel, batch, len, &value.numbers);
        }
        mixed = kernel.attend(&query.numbers, keys_and_values(keys, values), batch, &seen);
        buffers.map(|buffer| buffer.into_tensors(&device))
    });
    query.with(mixed)
}

/// See [`attend`](super::attend), of tensors in f32 on the CPU that are in no graph: the frozen base of a training whose value has the
/// same weights. Elsewhere `None`. Keys and values are as the cache keeps them.
///
/// # Shapes
/// - `query` and output: `[batch, seq, heads * head_dim]`
/// - `keys`, `values`: `[batch, kv_heads, keys, head_dim]`
pub(super) fn attend_tensors(
    config: &AttentionConfig,
    scale: f64,
    sinks: Option<SinkParams<'_>>,
    query: &Tensor<3>,
    [keys, values]: [&Tensor<4>; 2],
    mask: &Mask,
) -> Option<Tensor<3>> {
    let device = query.device();
    if query.dtype() != DType::F32 || !is_host(&device) {
        return None;
    }
    let shape @ [batch, ..] = query.dims();
    let sinks = sinks.map(|sinks| Numbers::of(sinks.scores));
    let kernel = GroupedQueryAttention {
        sinks: sinks.as_ref().map(Numbers::as_slice),
        ..attention_kernel(config, scale)
    };
    let query = Numbers::new(query.clone());
    let [keys, values] = [keys, values].map(|x| Numbers::new(x.clone()));
    let cached = KeysAndValues::F32(keys.as_slice(), values.as_slice());
    let mixed = kernel.attend(query.as_slice(), cached, batch, &mask.seen(batch));
    Some(host_tensor(mixed, shape, &device))
}
