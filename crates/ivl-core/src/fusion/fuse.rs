//! The equation of the method.

use burn::tensor::{DType, Tensor};

/// Fuses base and value logits in f32: `l = l_base + alpha * l_value`.
///
/// In the terms of reinforcement learning, `p(y|x)` is proportional to `p_base(y|x) * exp(alpha * v(y|x))`: the value is
/// the one that makes the demonstrations optimal under a KL-regularised objective
/// ([arXiv 2410.21027](https://arxiv.org/abs/2410.21027)).
///
/// With `alpha` 0 the result is the base to the last bit, whatever the value holds.
///
/// # Shapes
/// - `base`, `value`: the same, usually `[batch, seq, vocab]`
/// - output: the same, in f32
pub fn fuse<const D: usize>(base: Tensor<D>, value: Tensor<D>, alpha: f64) -> Tensor<D> {
    let base = base.cast(DType::F32);
    if alpha == 0.0 {
        return base;
    }
    let value = value.cast(DType::F32);
    if alpha == 1.0 { base.add(value) } else { base.add(value.mul_scalar(alpha)) }
}
