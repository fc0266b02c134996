//! Vectors of each token for each block, beside the residual stream.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use ivl_kernels::Matrix;

use super::embedding::Embedding;
use super::linear::Linear;
use super::norm::Norm;
use super::ops::{self, Activations};
use crate::config::{Activation, LayerInputsConfig, ModelConfig};

/// What makes the vectors of all blocks; see [`LayerInputsConfig`] for the formula.
#[derive(Module, Debug)]
pub(super) struct LayerInputs {
    /// A vector for each token, those of all blocks side by side.
    embedding: Embedding,
    projection: Linear,
    norm: Norm,
    #[module(skip)]
    width: usize,
}

impl LayerInputs {
    pub(super) fn new(config: &ModelConfig, own: LayerInputsConfig, device: &Device) -> Self {
        let all = config.layers.len() * own.width;
        Self {
            embedding: Embedding::new(own.vocab_size, all, device),
            projection: Linear::new(config.hidden_size, all, false, device),
            norm: Norm::new(own.width, config.norm, device),
            width: own.width,
        }
    }

    pub(super) fn projection(&self) -> &Linear {
        &self.projection
    }

    pub(super) fn projection_mut(&mut self) -> &mut Linear {
        &mut self.projection
    }

    /// From now on kernels of the CPU compute it, from the weights that it has and a table that was packed.
    pub(super) fn pack(&mut self, table: Option<Arc<Matrix>>) {
        self.embedding.packed = table;
        self.norm.pack();
    }

    /// The vectors of all blocks.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`, if the inputs are tokens
    /// - `embedded`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, blocks * width]`
    pub(super) fn forward(&self, tokens: Option<Tensor<2, Int>>, embedded: &Tensor<3>) -> Activations {
        let is_packed = self.norm.is_packed();
        let hidden = embedded.dims()[2] as f64;
        let embedded = Activations::new(embedded.clone(), is_packed);
        let projected = self.projection.forward(&embedded).scaled(Some(hidden.powf(-0.5)));
        let normed = self.norm.forward(&projected);
        let Some(tokens) = tokens else { return normed };
        let own = ops::scaled_tensor(self.embedding.forward(tokens), (self.width as f64).sqrt());
        (normed + Activations::new(own, is_packed)).scaled(Some(0.5f64.sqrt()))
    }
}

/// What lets the vector of a block into the residual stream.
#[derive(Module, Debug)]
pub(crate) struct LayerInput {
    pub(super) gate: Linear,
    pub(super) output: Linear,
    pub(super) norm: Norm,
    #[module(skip)]
    activation: Activation,
    /// The place of its vector among those of all blocks.
    #[module(skip)]
    first: usize,
    #[module(skip)]
    width: usize,
}

impl LayerInput {
    pub(super) fn new(config: &ModelConfig, own: LayerInputsConfig, layer: usize, device: &Device) -> Self {
        let (hidden, width) = (config.hidden_size, own.width);
        Self {
            gate: Linear::new(hidden, width, false, device),
            output: Linear::new(width, hidden, false, device),
            norm: Norm::new(hidden, config.norm, device),
            activation: config.mlp.activation,
            first: layer * width,
            width,
        }
    }

    /// The projections.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.gate, &self.output].into_iter()
    }

    /// What is added to the residual stream `x`.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    /// - `inputs`: `[batch, seq, blocks * width]`
    pub(super) fn forward(&self, x: &Activations, inputs: &Activations) -> Activations {
        let own = ops::columns(inputs, self.first..self.first + self.width);
        let gated = ops::gate(self.activation, self.gate.forward(x), Some(own));
        self.norm.forward(&self.output.forward(&gated))
    }
}
