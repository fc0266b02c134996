//! Normalisation over the last axis, in f32 whatever the model computes in.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{DType, Device, Tensor};

use super::differentiable::{self, Scaling};
use super::host::{Numbers, tensor};
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
    /// Whether the kernels of the CPU compute it.
    #[module(skip)]
    pub(super) packed: bool,
}

impl Norm {
    pub(crate) fn new(width: usize, config: NormConfig, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([width], device),
            bias: (config.kind == NormKind::Layer).then(|| Initializer::Zeros.init([width], device)),
            config,
            packed: false,
        }
    }

    /// # Shapes
    /// - `x` and output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if self.packed {
            return self.by_kernel(x);
        }
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

    /// What is added to the weights.
    fn offset(&self) -> f32 {
        if self.config.kind == NormKind::RmsUnitOffset { 1.0 } else { 0.0 }
    }

    fn by_kernel<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (shape, device) = (x.dims(), x.device());
        let weight = Numbers::of(self.weight.val());
        let bias = self.bias.as_ref().map(|bias| Numbers::of(bias.val()));
        let norm = match &bias {
            Some(bias) => ivl_kernels::Norm::Layer { weight: weight.as_slice(), bias: bias.as_slice() },
            None => ivl_kernels::Norm::Rms { weight: weight.as_slice(), offset: self.offset() },
        };
        tensor(norm.apply(Numbers::of(x).as_slice(), self.config.eps as f32), shape, &device)
    }
}
