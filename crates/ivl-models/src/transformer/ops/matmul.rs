//! Products of matrices on a device.

use burn::tensor::Tensor;

use super::differentiable;

/// Rows up to which a tied head multiplies from the left, where the embedding is read as it lies in memory.
const FEW_ROWS: usize = 64;

/// `x W`, with a gradient where one is wanted.
///
/// # Shapes
/// - `x`: `[n, input]`
/// - `weight`: `[input, output]`
/// - output: `[n, output]`
pub(in crate::transformer) fn product(x: &Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    differentiable::product(x, &weight, false).unwrap_or_else(|| x.clone().matmul(weight))
}

/// `x E^T`: logits of a head that is the transposed embedding.
///
/// # Shapes
/// - `x`: `[n, hidden]`
/// - `table`: `[vocab, hidden]`
/// - output: `[n, vocab]`
pub(in crate::transformer) fn transposed_product(x: Tensor<2>, table: Tensor<2>) -> Tensor<2> {
    // The CPU backend copies a transposed table. For a few rows the other order avoids that.
    if x.dims()[0] <= FEW_ROWS {
        return table.matmul(x.transpose()).transpose();
    }
    differentiable::product(&x, &table, true).unwrap_or_else(|| x.matmul(table.transpose()))
}
