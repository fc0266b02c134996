//! A linear projection.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_kernels::{Matrix, products};

use super::Lora;
use super::differentiable;
use super::host::{Numbers, Rows, tensor};

/// `y = x W + b` with `W` of shape `[input, output]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// Shape `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// Shape `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank update, while one is trained.
    pub lora: Option<Lora>,
    /// The weight laid out for the kernels of the CPU; the parameter is then made from it if somebody asks.
    #[module(skip)]
    pub(super) packed: Option<Arc<Matrix>>,
}

impl Linear {
    pub(crate) fn new(input: usize, output: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([input, output], device),
            bias: bias.then(|| Initializer::Zeros.init([output], device)),
            lora: None,
            packed: None,
        }
    }

    /// `[input, output]`.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }

    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [y] = Self::forward_all([self], x);
        y
    }

    /// Several projections of the same input.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: for each projection `[batch, seq, output]`
    pub(super) fn forward_all<const N: usize>(projections: [&Self; N], x: Tensor<3>) -> [Tensor<3>; N] {
        let [batch, seq, input] = x.dims();
        // In two dimensions: a broadcast batched product copies the weight on the CPU backend.
        let x = x.reshape([batch * seq, input]);
        let mut products = Self::products(projections, &x).into_iter();
        projections.map(|projection| {
            let mut y = products.next().expect("a product for each projection");
            if let Some(lora) = &projection.lora {
                y = y + lora.forward(x.clone());
            }
            if let Some(bias) = &projection.bias {
                y = y + bias.val().unsqueeze();
            }
            let output = y.dims()[1];
            y.reshape([batch, seq, output])
        })
    }

    fn products<const N: usize>(projections: [&Self; N], x: &Tensor<2>) -> [Tensor<2>; N] {
        match Self::matrices(projections) {
            Some(matrices) => multiplied(x.clone(), matrices),
            None => projections.map(|projection| product(x, projection.weight.val())),
        }
    }

    /// The packed weights, if all are.
    fn matrices<const N: usize>(projections: [&Self; N]) -> Option<[&Matrix; N]> {
        let mut matrices = [None; N];
        for (matrix, projection) in matrices.iter_mut().zip(projections) {
            *matrix = Some(projection.packed.as_deref()?);
        }
        Some(matrices.map(|matrix| matrix.expect("each was found")))
    }

    /// [`forward_all`](Self::forward_all) on the host: `x` are numbers at the positions of `rows`.
    pub(super) fn rows_all<const N: usize>(projections: [&Self; N], rows: &Rows, x: &[f32]) -> [Vec<f32>; N] {
        let Some(matrices) = Self::matrices(projections) else {
            return projections.map(|projection| rows.by_backend(x, |x| projection.forward(x)));
        };
        let mut outputs = products(x, matrices);
        for (y, projection) in outputs.iter_mut().zip(projections) {
            if let Some(lora) = &projection.lora {
                let update = rows.by_backend(x, |x| {
                    let [batch, seq, input] = x.dims();
                    lora.forward(x.reshape([batch * seq, input])).unsqueeze_dim(0)
                });
                y.iter_mut().zip(update).for_each(|(y, update)| *y += update);
            }
            if let Some(bias) = &projection.bias {
                let bias = Numbers::of(bias.val());
                let bias = bias.as_slice();
                y.chunks_exact_mut(bias.len()).for_each(|y| {
                    y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                });
            }
        }
        outputs
    }
}

/// `x W`, with a gradient where one is wanted.
///
/// # Shapes
/// - `x`: `[n, input]`
/// - `weight`: `[input, output]`
/// - output: `[n, output]`
pub(super) fn product(x: &Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    differentiable::product(x, &weight, false).unwrap_or_else(|| x.clone().matmul(weight))
}

/// Products with packed weights.
///
/// # Shapes
/// - `x`: `[rows, input]`
/// - output: for each matrix `[rows, output]`
pub(super) fn multiplied<const N: usize>(x: Tensor<2>, matrices: [&Matrix; N]) -> [Tensor<2>; N] {
    let ([rows, _], device) = (x.dims(), x.device());
    let mut numbers = products(Numbers::of(x).as_slice(), matrices).into_iter();
    matrices.map(|matrix| {
        let numbers = numbers.next().expect("a product for each matrix");
        tensor(numbers, [rows, matrix.shape()[1]], &device)
    })
}
