//! Tables of vectors: of tokens, and of positions.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor};
use ivl_kernels::Matrix;

use super::ops::host_tensor;
use super::site::Site;

/// A table of vectors.
#[derive(Module, Debug)]
pub(super) struct Embedding {
    /// Shape `[rows, width]`.
    pub(super) weight: Param<Tensor<2>>,
    /// The table as a head, `[width, rows]`, laid out for the kernels of the CPU.
    #[module(skip)]
    pub(super) packed: Option<Arc<Matrix>>,
}

impl Embedding {
    pub(super) fn new(rows: usize, width: usize, device: &Device) -> Self {
        Self { weight: Initializer::Zeros.init([rows, width], device), packed: None }
    }

    /// Where it computes.
    pub(super) fn site(&self) -> Site {
        Site::of(&self.weight, self.packed.is_some())
    }

    /// # Shapes
    /// - `ids`: `[batch, seq]`
    /// - output: `[batch, seq, width]`
    pub(super) fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match &self.packed {
            Some(matrix) => columns(matrix, ids),
            None => embedding(self.weight.val(), ids),
        }
    }
}

/// The vectors of tokens, which are columns of a packed head.
fn columns(matrix: &Matrix, ids: Tensor<2, Int>) -> Tensor<3> {
    let ([batch, seq], device) = (ids.dims(), ids.device());
    let [width, _] = matrix.shape();
    let ids: Vec<usize> = ids.into_data().iter::<i64>().map(|id| id as usize).collect();
    host_tensor(matrix.outputs(&ids), [batch, seq, width], &device)
}
