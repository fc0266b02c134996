//! The operations by Burn's own, on any device and in any type.

use burn::module::Param;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType, Tensor, activation};

use super::matmul::product;
use super::params::{LinearParams, LowRankParams, NormParams, SinkParams, XIeluParams};
use super::rotation::Rotation;
use crate::config::{Activation, AttentionConfig, RopePairing};
use crate::transformer::mask::Mask;

/// See [`linear`](super::linear).
pub(super) fn linear<const N: usize>(layers: [LinearParams<'_>; N], x: Tensor<3>) -> [Tensor<3>; N] {
    let [batch, seq, input] = x.dims();
    // In two dimensions: a broadcast batched product copies the weight on the CPU backend.
    let rows = x.clone().reshape([batch * seq, input]);
    layers.map(|layer| {
        let mut y = product(&rows, layer.weight.val());
        if let Some(update) = layer.low_rank {
            y = y + low_rank(update, &x);
        }
        if let Some(bias) = layer.bias {
            y = y + bias.val().unsqueeze();
        }
        let output = y.dims()[1];
        y.reshape([batch, seq, output])
    })
}

/// `scale x A B`, or 0 for every second row of the batch where the update alternates.
///
/// # Shapes
/// - `x`: `[batch, seq, input]`
/// - output: `[batch * seq, output]`
pub(super) fn low_rank(params: LowRankParams<'_>, x: &Tensor<3>) -> Tensor<2> {
    let LowRankParams { down, up, scale, alternates, .. } = params;
    let [batch, seq, input] = x.dims();
    let update = |x: Tensor<2>| product(&product(&x, down.val()), up.val()) * scale;
    if !alternates {
        return update(x.clone().reshape([batch * seq, input]));
    }
    let pairs: Tensor<3> = x.clone().reshape([batch / 2, 2, seq * input]);
    let first = update(pairs.slice([0..batch / 2, 0..1]).reshape([batch / 2 * seq, input]));
    let output = first.dims()[1];
    let first: Tensor<3> = first.reshape([batch / 2, 1, seq * output]);
    Tensor::cat(vec![first.clone(), first.zeros_like()], 1).reshape([batch * seq, output])
}

/// See [`norm`](super::norm). Computed in f32 whatever the type of `x`.
///
/// # Shapes
/// - `x` and output: `[.., width]`
pub(super) fn norm<const D: usize>(params: NormParams<'_>, x: Tensor<D>) -> Tensor<D> {
    let NormParams { weight, bias, config, .. } = params;
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let x = if config.kind.is_centered() { x.clone() - x.mean_dim(D - 1) } else { x };
    let variance = x.clone().square().mean_dim(D - 1);
    let x = x / (variance + config.eps).sqrt();
    let weight = weight.val().cast(DType::F32);
    let weight = if config.kind.offset() == 0.0 { weight } else { weight + config.kind.offset() };
    let x = x * weight.unsqueeze();
    let x = match bias.map(Param::val) {
        Some(bias) => x + bias.cast(DType::F32).unsqueeze(),
        None => x,
    };
    x.cast(dtype)
}

/// See [`unit_rms`](super::unit_rms). Computed in f32 whatever the type of `x`.
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads, width]`
pub(super) fn unit_rms(x: Tensor<4>, eps: f64) -> Tensor<4> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let mean_square = x.clone().square().mean_dim(3);
    (x / (mean_square + eps).sqrt()).cast(dtype)
}

/// See [`gate`](super::gate).
///
/// # Panics
/// For xIELU, which has parameters: [`xielu`] computes it. For [`clamped_swiglu`], which has two inputs.
pub(super) fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        Activation::Relu => activation::relu(x),
        Activation::Relu2 => activation::relu(x).square(),
        Activation::XIelu => unreachable!("xIELU has parameters and an operation of its own"),
        Activation::ClampedSwiGlu { .. } => unreachable!("it is computed with what the gate multiplies"),
    }
}

/// `(u + 1) g sigmoid(alpha g)`, with `g = min(gate, limit)` and `u` the other input between `-limit` and `limit`.
///
/// # Shapes
/// - inputs and output: `[.., width]`
pub(super) fn clamped_swiglu<const D: usize>(
    [alpha, limit]: [f64; 2],
    gate: Tensor<D>,
    up: Tensor<D>,
) -> Tensor<D> {
    let gate = gate.clamp_max(limit);
    (up.clamp(-limit, limit) + 1.0) * gate.clone() * activation::sigmoid(gate * alpha)
}

/// See [`xielu`](super::xielu). Computed in f32 whatever the type of `x`.
pub(super) fn xielu(params: XIeluParams<'_>, x: Tensor<3>) -> Tensor<3> {
    let number = |param: &Param<Tensor<1>>| -> Tensor<3> { param.val().cast(DType::F32).reshape([1, 1, 1]) };
    // Constants, though they are stored as parameters are.
    let (beta, eps) = (number(params.beta).detach(), number(params.eps).detach());
    let softplus = |x: Tensor<3>| activation::softplus(x, 1.0);
    let alpha_p = softplus(number(params.alpha_p));
    let alpha_n = beta.clone() + softplus(number(params.alpha_n));
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let positive = x.clone().square() * alpha_p;
    let below = x.clone().min_pair(eps.expand(x.dims()));
    let negative = (below.exp() - 1.0 - x.clone()) * alpha_n;
    let is_positive = x.clone().greater_elem(0.0);
    (negative.mask_where(is_positive, positive) + x * beta).cast(dtype)
}

/// See [`rotate`](super::rotate).
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads, head_dim]`
pub(super) fn rotate(rotation: &Rotation, x: Tensor<4>) -> Tensor<4> {
    let ([batch, seq, heads, width], pairs) = (x.dims(), rotation.pairs);
    let part = |from: usize, to: usize| x.clone().slice([0..batch, 0..seq, 0..heads, from..to]);
    let (first, second) = match rotation.pairing {
        RopePairing::Half => (part(0, pairs), part(pairs, 2 * pairs)),
        RopePairing::Interleaved => {
            let rotated: Tensor<5> = part(0, 2 * pairs).reshape([batch, seq, heads, pairs, 2]);
            let member = |at: usize| {
                let one = rotated.clone().slice([0..batch, 0..seq, 0..heads, 0..pairs, at..at + 1]);
                one.reshape([batch, seq, heads, pairs])
            };
            (member(0), member(1))
        }
    };
    let [cos, sin] = rotation.tensors();
    let (first, second) =
        (first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin);
    let rotated = match rotation.pairing {
        RopePairing::Half => vec![first, second],
        RopePairing::Interleaved => {
            let pairs: Tensor<5> = Tensor::stack(vec![first, second], 4);
            vec![pairs.flatten(3, 4)]
        }
    };
    let rest = (2 * pairs < width).then(|| part(2 * pairs, width));
    Tensor::cat(rotated.into_iter().chain(rest).collect(), 3)
}

/// See [`attend`](super::attend); keys and values are as the cache keeps them. Query heads that share a key head are laid out as further
/// queries of it, so that keys and values are never repeated.
///
/// # Shapes
/// - `query` and output: `[batch, seq, heads * head_dim]`
/// - `keys`, `values`: `[batch, kv_heads, keys, head_dim]`
pub(super) fn attend(
    config: &AttentionConfig,
    scale: f64,
    sinks: Option<SinkParams<'_>>,
    query: Tensor<3>,
    [keys, values]: [Tensor<4>; 2],
    mask: &Mask,
) -> Tensor<3> {
    let AttentionConfig { num_heads, num_kv_heads, head_dim, softcap, .. } = *config;
    let ([batch, seq, _], device) = (query.dims(), query.device());
    let groups = num_heads / num_kv_heads;
    // [batch, heads, seq, dim] -> [batch, kv_heads, groups * seq, dim]
    let query = by_head(query, num_heads).reshape([batch, num_kv_heads, groups * seq, head_dim]);
    let all = keys.dims()[2];
    let expand = |hidden: Tensor<4, Bool>| hidden.expand([batch, num_kv_heads, groups * seq, all]);
    let mixed = if let Some(sinks) = sinks {
        let hidden = mask.every_hidden(groups, &device).map(expand);
        let sinks: Tensor<4> = sinks.scores.val().cast(DType::F32).reshape([1, num_kv_heads, groups, 1]);
        let sinks: Tensor<4> = sinks.expand([batch, num_kv_heads, groups, seq]);
        let sinks = sinks.reshape([batch, num_kv_heads, groups * seq, 1]);
        attend_with_sinks(query, keys, values, hidden, sinks, scale)
    } else {
        let options =
            AttentionModuleOptions { scale: Some(scale), softcap, is_causal: mask.is_causal(groups) };
        attention(query, keys, values, mask.hidden(groups, &device).map(expand), None, options)
    };
    let mixed = mixed.reshape([batch, num_heads, seq, head_dim]).swap_dims(1, 2);
    mixed.reshape([batch, seq, num_heads * head_dim])
}

/// The heads of queries, keys or values one after the other.
///
/// # Shapes
/// - `x`: `[batch, seq, heads * head_dim]`
/// - output: `[batch, heads, seq, head_dim]`
pub(super) fn by_head(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch, seq, heads, width / heads]).swap_dims(1, 2)
}

/// Attention with a further score for each query, which has no value. The weights are computed in f32.
///
/// # Shapes
/// - `query` and output: `[batch, heads, queries, dim]`
/// - `keys`, `values`: `[batch, heads, keys, dim]`
/// - `hidden`: `[batch, heads, queries, keys]`
/// - `sinks`: `[batch, heads, queries, 1]`
fn attend_with_sinks(
    query: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    sinks: Tensor<4>,
    scale: f64,
) -> Tensor<4> {
    let [batch, heads, queries, _] = query.dims();
    let (all, dtype) = (keys.dims()[2], query.dtype());
    let scores = (query.matmul(keys.swap_dims(2, 3)) * scale).cast(DType::F32);
    let scores = match hidden {
        Some(hidden) => scores.mask_fill(hidden, f32::NEG_INFINITY),
        None => scores,
    };
    let weights = activation::softmax(Tensor::cat(vec![scores, sinks], 3), 3);
    weights.slice([0..batch, 0..heads, 0..queries, 0..all]).cast(dtype).matmul(values)
}
