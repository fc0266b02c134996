//! Normalisation over the last axis, in f32 whatever the model computes in.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{DType, Device, Tensor};

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
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let x = if self.config.kind == NormKind::Layer { x.clone() - x.mean_dim(D - 1) } else { x };
        let variance = x.clone().square().mean_dim(D - 1);
        let x = x / (variance + self.config.eps).sqrt();
        let weight = self.weight.val().cast(DType::F32);
        let weight = if self.config.kind == NormKind::RmsUnitOffset { weight + 1.0 } else { weight };
        let x = x * weight.unsqueeze();
        let x = match &self.bias {
            Some(bias) => x + bias.val().cast(DType::F32).unsqueeze(),
            None => x,
        };
        x.cast(dtype)
    }

    fn by_kernel<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (shape, device) = (x.dims(), x.device());
        let weight = Numbers::of(self.weight.val());
        let bias = self.bias.as_ref().map(|bias| Numbers::of(bias.val()));
        let norm = match &bias {
            Some(bias) => ivl_kernels::Norm::Layer { weight: weight.as_slice(), bias: bias.as_slice() },
            None => ivl_kernels::Norm::Rms {
                weight: weight.as_slice(),
                offset: if self.config.kind == NormKind::RmsUnitOffset { 1.0 } else { 0.0 },
            },
        };
        tensor(norm.apply(Numbers::of(x).as_slice(), self.config.eps as f32), shape, &device)
    }
}
