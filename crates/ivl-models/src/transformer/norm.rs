//! Normalisation over the last axis, in f32 whatever the model computes in.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{DType, Device, Tensor};

use super::differentiable::{self, Scaling};
use super::host::Numbers;
use super::states::States;
use crate::config::{NormConfig, NormKind};

/// The normalisation of a model's layers; see [`NormKind`] for the formulas.
#[derive(Module, Debug)]
pub struct Norm {
    /// Shape `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Shape `[width]`, for [`NormKind::Layer`].
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
            bias: (config.kind == NormKind::Layer).then(|| Initializer::Zeros.init([width], device)),
            config,
            packed: None,
        }
    }

    /// # Shapes
    /// - `x` and output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let scaling = Scaling { offset: self.offset(), eps: self.config.eps as f32 };
        let bias = self.bias.as_ref().map(Param::val);
        if let Some(y) = differentiable::normed(scaling, &x, &self.weight.val(), bias.as_ref()) {
            return y;
        }
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let x = if self.config.kind == NormKind::Layer { x.clone() - x.mean_dim(D - 1) } else { x };
        let variance = x.clone().square().mean_dim(D - 1);
        let x = x / (variance + self.config.eps).sqrt();
        let weight = self.weight.val().cast(DType::F32);
        let weight = if self.config.kind == NormKind::RmsUnitOffset { weight + 1.0 } else { weight };
        let x = x * weight.unsqueeze();
        let x = match bias {
            Some(bias) => x + bias.cast(DType::F32).unsqueeze(),
            None => x,
        };
        x.cast(dtype)
    }

    /// The offset added to the weights.
    fn offset(&self) -> f32 {
        if self.config.kind == NormKind::RmsUnitOffset { 1.0 } else { 0.0 }
    }

    /// Has kernels of the CPU compute it from now on, from the weights that it has.
    pub(super) fn pack(&mut self) {
        let numbers =
            |param: &Param<Tensor<1>>| Numbers::of(param.val().cast(DType::F32)).as_slice().to_vec();
        let bias = self.bias.as_ref().map(numbers).unwrap_or_default();
        self.packed = Some(Arc::new([numbers(&self.weight), bias]));
    }

    pub(super) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// [`forward`](Self::forward) on states.
    pub(super) fn of(&self, x: &States) -> States {
        match x {
            States::Device(x) => States::Device(self.forward(x.clone())),
            States::Host(rows) => States::Host(rows.with(self.rows(&rows.numbers))),
        }
    }

    /// [`forward`](Self::forward) of rows of numbers.
    ///
    /// # Panics
    /// If the norm is not packed.
    pub(super) fn rows(&self, x: &[f32]) -> Vec<f32> {
        let [weight, bias] = &**self.packed.as_ref().expect("a packed norm");
        let norm = match self.config.kind {
            NormKind::Layer => ivl_kernels::Normalization::Layer { weight, bias },
            _ => ivl_kernels::Normalization::Rms { weight, offset: self.offset() },
        };
        norm.apply(x, self.config.eps as f32)
    }
}
