//! Causal convolutions of single channels.

use burn::tensor::{Device, Tensor};
use ivl_kernels::CausalConvolution;

use super::activations::{Activations, HostRows};
use super::numbers::{Numbers, host_tensor};
use super::params::FilterParams;
use crate::transformer::ages::Ages;

/// `y[t] = sum_j w[j] x[t - (kernel - 1) + j] + b` for each channel, within each text. The last inputs replace those of `tail`.
///
/// # Shapes
/// - `x` and output: `[batch, seq, channels]`
/// - `tail`: `[batch, kernel - 1, channels]`, nothing before the first position
pub(in crate::transformer) fn convolve(
    params: FilterParams<'_>,
    x: &Activations,
    ages: &Ages,
    tail: &mut Option<Tensor<3>>,
) -> Activations {
    match (x, params.packed) {
        (Activations::Host(x), Some(packed)) => Activations::Host(on_host(packed, x, ages, tail)),
        (x, _) => by_burn(params, x.clone().into_tensor(), ages, tail).into(),
    }
}

/// By the kernel of the CPU.
fn on_host(
    [weight, bias]: &[Vec<f32>; 2],
    x: &HostRows,
    ages: &Ages,
    tail: &mut Option<Tensor<3>>,
) -> HostRows {
    let channels = x.width();
    let before = weight.len() / channels - 1;
    let mut inputs = match tail.take() {
        Some(tail) => Numbers::new(tail).into_vec(),
        None => vec![0.0; x.batch * before * channels],
    };
    let y = CausalConvolution { weight, bias, channels }.apply(
        &x.numbers,
        &mut inputs,
        &ages.of_positions,
        x.batch,
    );
    *tail = Some(host_tensor(inputs, [x.batch, before, channels], &Device::flex()));
    x.with(y)
}

/// By Burn's operations.
fn by_burn(params: FilterParams<'_>, x: Tensor<3>, ages: &Ages, tail: &mut Option<Tensor<3>>) -> Tensor<3> {
    let ([batch, seq, channels], device, dtype) = (x.dims(), x.device(), x.dtype());
    let weight = params.weight.val();
    let before = weight.dims()[0] - 1;
    let zeros = || Tensor::zeros([batch, before, channels], (&device, dtype));
    let all = Tensor::cat(vec![tail.take().unwrap_or_else(zeros), x], 1);
    let mut sum: Option<Tensor<3>> = None;
    for tap in 0..=before {
        let own = all.clone().slice([0..batch, tap..tap + seq, 0..channels]);
        let weight: Tensor<3> = weight.clone().slice([tap..tap + 1, 0..channels]).unsqueeze();
        let distance = before - tap;
        let own = if ages.reach_back(distance) {
            own
        } else {
            let reached = ages.mask(|_, age| age.is_some_and(|age| age >= distance), &device);
            own * reached.cast(dtype).unsqueeze_dim(2)
        };
        let product = own * weight;
        sum = Some(match sum {
            Some(sum) => sum + product,
            None => product,
        });
    }
    *tail = Some(all.slice([0..batch, seq..seq + before, 0..channels]));
    let y = sum.expect("a kernel has a tap");
    match params.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}
