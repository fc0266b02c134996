//! A linear projection.

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_kernels::Matrix;

use super::lora::Lora;
use super::ops::{self, Activations, LinearParams};
use super::site::Site;

/// `y = x W + b` with `W` of shape `[input, output]`.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// Shape `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// Shape `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank update, while one is trained.
    pub lora: Option<Lora>,
    /// The weight laid out for the kernels of the CPU. The parameter is then unpacked from it when it is read.
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

    /// Where it computes.
    pub(super) fn site(&self) -> Site {
        Site::of(&self.weight, self.packed.is_some())
    }

    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    pub(super) fn forward(&self, x: &Activations) -> Activations {
        let [y] = Self::forward_all([self], x);
        y
    }

    /// Several projections of the same input.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: for each projection `[batch, seq, output]`
    pub(super) fn forward_all<const N: usize>(projections: [&Self; N], x: &Activations) -> [Activations; N] {
        ops::linear(projections.map(Self::params), x)
    }

    /// Says that these projections come next; see [`ops::expect`].
    pub(super) fn expect_all<const N: usize>(projections: [&Self; N]) {
        ops::expect(projections.map(Self::params));
    }

    fn params(&self) -> LinearParams<'_> {
        LinearParams {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            low_rank: self.lora.as_ref().map(Lora::params),
            packed: self.packed.as_deref(),
        }
    }

    /// Lays the low-rank update out for kernels, if the weight is.
    pub(super) fn pack_adapters(&mut self) {
        if let (Some(lora), Some(weight)) = (&mut self.lora, &self.packed) {
            lora.pack(weight.format());
        }
    }

    /// Adds the low-rank update to the weight.
    pub(super) fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            let weight = self.weight.val();
            let update = lora.update().cast(weight.dtype());
            self.weight = Param::initialized(self.weight.id, weight + update);
            // The packed weight is a copy without the update.
            self.packed = None;
        }
    }
}
