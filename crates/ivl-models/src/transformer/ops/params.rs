//! Parameters of a layer, as operations read them.

use burn::module::Param;
use burn::tensor::Tensor;
use ivl_kernels::Matrix;

use crate::config::NormConfig;

/// `W` and `b` of `y = x W + b`.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct LinearParams<'a> {
    /// Shape `[input, output]`.
    pub(in crate::transformer) weight: &'a Param<Tensor<2>>,
    /// Shape `[output]`.
    pub(in crate::transformer) bias: Option<&'a Param<Tensor<1>>>,
    /// A low-rank update of the weight.
    pub(in crate::transformer) low_rank: Option<LowRankParams<'a>>,
    /// The weight laid out for kernels.
    pub(in crate::transformer) packed: Option<&'a Matrix>,
}

/// `A`, `B` and `s` of the update `s A B`.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct LowRankParams<'a> {
    /// `A`, shape `[input, rank]`.
    pub(in crate::transformer) down: &'a Param<Tensor<2>>,
    /// `B`, shape `[rank, output]`.
    pub(in crate::transformer) up: &'a Param<Tensor<2>>,
    /// `s`.
    pub(in crate::transformer) scale: f64,
}

/// Weights of a normalisation.
#[derive(Clone, Copy)]
pub(in crate::transformer) struct NormParams<'a> {
    /// Shape `[width]`.
    pub(in crate::transformer) weight: &'a Param<Tensor<1>>,
    /// Shape `[width]`.
    pub(in crate::transformer) bias: Option<&'a Param<Tensor<1>>>,
    /// Formula and epsilon.
    pub(in crate::transformer) config: NormConfig,
    /// Weight and bias as numbers for kernels.
    pub(in crate::transformer) packed: Option<&'a [Vec<f32>; 2]>,
}

impl NormParams<'_> {
    /// Numbers that are normalised together.
    pub(super) fn width(&self) -> usize {
        self.weight.lazy_shape().dims::<1>()[0]
    }
}
