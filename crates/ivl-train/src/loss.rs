//! The objective of value learning.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor};
use ivl_core::fuse;

/// The objective at some positions, and its parts.
#[derive(Debug, Clone)]
pub struct Loss {
    /// What is minimised; shape `[1]`.
    pub objective: Tensor<1>,
    /// Sum of the cross-entropies over the positions; shape `[1]`.
    pub cross_entropy: Tensor<1>,
    /// Sum of `|v|_1 / vocab` over the positions; shape `[1]`.
    pub norm: Tensor<1>,
}

/// Cross-entropy of the fused distribution, with a penalty on the size of the value:
///
/// ```text
/// L = 1/N * sum_i [ -log softmax(b_i + v_i)[y_i] + l1 * |v_i|_1 / |vocab| ]
/// ```
///
/// over trained positions `i`, with `N` the number of trained tokens in the whole optimizer step (not in this batch: so
/// that small batches add up to exactly one large one). The base carries no gradient: it lives on a device without
/// autodiff, and enters as a constant. The paper averages the norm over all positions, prompt and padding included; ours
/// counts the trained ones.
///
/// # Shapes
/// - `base`: `[n, vocab]`, or none to train the model by itself
/// - `value`: `[n, vocab]`, already mapped to the base's vocabulary
/// - `targets`: `[n]`
pub fn value_loss(
    base: Option<Tensor<2>>,
    value: Tensor<2>,
    targets: Tensor<1, Int>,
    l1: f64,
    tokens: usize,
) -> Loss {
    let value = value.cast(DType::F32);
    let vocab = value.dims()[1] as f64;
    let norm = value.clone().abs().sum() / vocab;
    let fused = match base {
        Some(base) => fuse(base.autodiff(), value, 1.0),
        None => value,
    };
    let cross_entropy = log_softmax(fused, 1).gather(1, targets.unsqueeze_dim(1)).sum().neg();
    let penalized = if l1 == 0.0 { cross_entropy.clone() } else { cross_entropy.clone() + norm.clone() * l1 };
    Loss { objective: penalized / tokens as f64, cross_entropy, norm }
}
