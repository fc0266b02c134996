//! Normalisation over the last axis, in f32 whatever type the model computes in.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

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

    /// Multiplies what it gives by `factor`: weight, with what the formula adds to it, and bias. A frozen norm stays frozen.
    pub(super) fn scale(&mut self, factor: f64) {
        let scaled = |param: &Param<Tensor<1>>, offset: f32| {
            param.clone().map(|tensor| {
                let is_trained = tensor.is_require_grad();
                ((tensor.detach() + offset) * factor - offset).detach().set_require_grad(is_trained)
            })
        };
        self.weight = scaled(&self.weight, self.config.kind.offset());
        self.bias = self.bias.as_ref().map(|bias| scaled(bias, 0.0));
        self.repack();
    }

    /// Replaces its weight and, where the formula has one, its bias; they are frozen.
    ///
    /// # Panics
    /// If there are not as many numbers as the norm is wide.
    pub(super) fn set(&mut self, weight: Vec<f32>, bias: Option<Vec<f32>>) {
        let replaced = |param: &Param<Tensor<1>>, numbers: Vec<f32>| {
            let old = param.val();
            let data = TensorData::new(numbers, old.dims());
            let tensor = Tensor::<1>::from_data(data, (&old.device(), DType::F32));
            Param::initialized(param.id, tensor.cast(old.dtype()))
        };
        self.weight = replaced(&self.weight, weight);
        self.bias = self.bias.as_ref().zip(bias).map(|(param, numbers)| replaced(param, numbers));
        self.repack();
    }

    /// The numbers of the kernels are a copy.
    fn repack(&mut self) {
        if self.is_packed() {
            self.pack();
        }
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
