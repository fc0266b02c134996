//! Short convolutions between gates.

use burn::module::Module;
use burn::tensor::Device;
use ivl_core::cache::LayerMemory;

use super::filter::Filter;
use super::linear::Linear;
use super::mixing::Reading;
use super::ops::{self, Activations};
use crate::config::ShortConvolutionConfig;

/// `output(C * conv(B * x))`, where `B`, `C` and `x` are the thirds of a projection of the input, and `conv` sees the last few
/// positions of each channel.
#[derive(Module, Debug)]
pub(crate) struct ShortConvolution {
    pub(super) input: Linear,
    pub(super) filter: Filter,
    pub(super) output: Linear,
}

impl ShortConvolution {
    pub(super) fn new(hidden: usize, config: ShortConvolutionConfig, device: &Device) -> Self {
        let ShortConvolutionConfig { kernel, bias } = config;
        Self {
            input: Linear::new(hidden, 3 * hidden, bias, device),
            filter: Filter::new(kernel, hidden, bias, device),
            output: Linear::new(hidden, hidden, bias, device),
        }
    }

    /// The projections.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.input, &self.output].into_iter()
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: &Activations,
        reading: Reading<'_>,
        memory: &mut LayerMemory,
    ) -> Activations {
        let [before, after, x] = ops::parts(&self.input.forward(x), 1);
        let x = ops::multiply(before, x);
        let mixed = reading.mix(memory, |positions, ages, state| {
            self.filter.forward(&ops::positions(&x, positions), ages, state)
        });
        self.output.forward(&ops::multiply(after, mixed))
    }
}
