//! Convolutions of single channels.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_core::cache::RecurrentState;

use super::ages::Ages;
use super::ops::{self, Activations, FilterParams, Numbers};

/// A causal convolution of each channel: `y[t] = sum_j w[j] x[t - (kernel - 1) + j] + b`.
#[derive(Module, Debug)]
pub(crate) struct Filter {
    /// Shape `[kernel, channels]`.
    pub weight: Param<Tensor<2>>,
    /// Shape `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Weights and biases as numbers for the kernels of the CPU.
    #[module(skip)]
    packed: Option<Arc<[Vec<f32>; 2]>>,
}

impl Filter {
    pub(super) fn new(kernel: usize, channels: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([kernel, channels], device),
            bias: bias.then(|| Initializer::Zeros.init([channels], device)),
            packed: None,
        }
    }

    /// The last inputs become those of the state.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, channels]`
    pub(super) fn forward(&self, x: &Activations, ages: &Ages, state: &mut RecurrentState) -> Activations {
        let params =
            FilterParams { weight: &self.weight, bias: self.bias.as_ref(), packed: self.packed.as_deref() };
        ops::convolve(params, x, ages, &mut state.tail)
    }

    /// From now on kernels of the CPU compute it, from the weights that it has.
    pub(super) fn pack(&mut self) {
        fn numbers<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
            Numbers::of(param).as_slice().to_vec()
        }
        let bias = self.bias.as_ref().map(numbers).unwrap_or_default();
        self.packed = Some(Arc::new([numbers(&self.weight), bias]));
    }
}
