//! Normalisation over the last axis, in f32 whatever type the model computes in.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::ops::{self, Activations, NormParams, Numbers};
use crate::config::NormConfig;

/// The normalisation of a model's layers; see [`NormKind`](crate::config::NormKind) for the formulas.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    /// Shape `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Shape `[width]`, where the formula has one.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: NormConfig,
    /// Weights and biases as numbers for the kernels of the CPU.
    #[module(skip)]
    packed: Option<Arc<[Vec<f32>; 2]>>,
}

impl Norm {
    pub(crate) fn new(width: usize, config: NormConfig, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([width], device),
            bias: config.kind.has_bias().then(|| Initializer::Zeros.init([width], device)),
            config,
            packed: None,
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, n * width]`: `n` heads are normalised each by itself
    pub(super) fn forward(&self, x: &Activations) -> Activations {
        let params = NormParams {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            config: self.config,
            packed: self.packed.as_deref(),
        };
        ops::norm(params, x)
    }

    /// From now on kernels of the CPU compute it, from the weights that it has.
    pub(super) fn pack(&mut self) {
        let numbers = |param: &Param<Tensor<1>>| Numbers::of(param).as_slice().to_vec();
        let bias = self.bias.as_ref().map(numbers).unwrap_or_default();
        self.packed = Some(Arc::new([numbers(&self.weight), bias]));
    }

    pub(super) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }
}
