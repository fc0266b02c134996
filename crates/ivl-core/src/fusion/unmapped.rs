//! The neutral value of tokens that a value has no logit for.

use burn::tensor::{DType, Tensor};

use crate::fusion::fuse::fuse;

/// Below every logit, and finite: sums and gradients stay free of NaN.
pub(crate) const NOTHING: f32 = -1e30;

/// Fuses a value that has no logit for some tokens: `l = b + alpha v`, and where `unmapped` is 1 `l = b + n` with
///
/// ```text
/// n = log sum_M e^(b + alpha v) - log sum_M e^b
/// ```
///
/// over the other tokens M. This is the one constant that leaves the probability of the tokens without a value, taken
/// together, as the base gave it. Zero would not: a value is known only up to a constant (softmax does not see it), and
/// with another constant zero would mean another thing. `n` moves with the constant, so that the fused distribution
/// does not.
///
/// # Shapes
/// - `base`, `value`: `[.., vocab]`; `value` is 0 where `unmapped` is 1
/// - `unmapped`: the same, or 1 in place of any axis but the last; elsewhere it is 0. `None` if every token has a value:
///   then the result is that of [`fuse`]
/// - output: as `base`, in f32
pub(crate) fn fuse_partial<const D: usize>(
    base: Tensor<D>,
    value: Tensor<D>,
    unmapped: Option<Tensor<D>>,
    alpha: f64,
) -> Tensor<D> {
    let base = base.cast(DType::F32);
    let Some(unmapped) = unmapped.filter(|_| alpha != 0.0) else { return fuse(base, value, alpha) };
    let value = value.cast(DType::F32);
    let value = if alpha == 1.0 { value } else { value.mul_scalar(alpha) };
    let known = base.clone().add(unmapped.clone().mul_scalar(NOTHING));
    let neutral = log_sum(known.clone().add(value.clone())).sub(log_sum(known));
    base.add(value).add(neutral.mul(unmapped))
}

/// `log sum e^x` over the last axis, which becomes 1.
fn log_sum<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let largest = x.clone().max_dim(D - 1);
    x.sub(largest.clone()).exp().sum_dim(D - 1).log().add(largest)
}
