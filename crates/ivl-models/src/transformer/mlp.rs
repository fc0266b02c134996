//! Feed-forward layers.

use burn::module::Module;
use burn::tensor::Device;

use super::linear::Linear;
use super::ops::{self, Activations};
use crate::config::{Activation, ModelConfig};

/// `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without a gate.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let (hidden, mlp) = (config.hidden_size, &config.mlp);
        Self {
            gate: mlp.gated.then(|| Linear::new(hidden, mlp.intermediate_size, mlp.bias, device)),
            up: Linear::new(hidden, mlp.intermediate_size, mlp.bias, device),
            down: Linear::new(mlp.intermediate_size, hidden, mlp.bias, device),
            activation: mlp.activation,
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(&self, x: &Activations) -> Activations {
        let inner = if let Some(gate) = &self.gate {
            let [gate, up] = Linear::forward_all([gate, &self.up], x);
            ops::gate(self.activation, gate, Some(up))
        } else {
            ops::gate(self.activation, self.up.forward(x), None)
        };
        self.down.forward(&inner)
    }
}
