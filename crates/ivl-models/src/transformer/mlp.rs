//! Feed-forward layers.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::linear::Linear;
use super::ops::{self, Activations, XIeluParams};
use crate::config::{Activation, MlpConfig};

/// `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without a gate.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    xielu: Option<XIelu>,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(hidden: usize, mlp: &MlpConfig, device: &Device) -> Self {
        Self {
            gate: mlp.gated.then(|| Linear::new(hidden, mlp.intermediate_size, mlp.bias, device)),
            up: Linear::new(hidden, mlp.intermediate_size, mlp.bias, device),
            down: Linear::new(mlp.intermediate_size, hidden, mlp.bias, device),
            xielu: (mlp.activation == Activation::XIelu).then(|| XIelu::new(device)),
            activation: mlp.activation,
        }
    }

    /// The projections.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.up, &self.down].into_iter().chain(&self.gate)
    }

    /// Says that this layer comes next; see [`ops::expect`].
    pub(super) fn expect(&self) {
        match &self.gate {
            Some(gate) => Linear::expect_all([gate, &self.up]),
            None => Linear::expect_all([&self.up]),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(&self, x: &Activations) -> Activations {
        let inner = if let Some(gate) = &self.gate {
            let [gate, up] = Linear::forward_all([gate, &self.up], x);
            Linear::expect_all([&self.down]);
            ops::gate(self.activation, gate, Some(up))
        } else {
            let up = self.up.forward(x);
            Linear::expect_all([&self.down]);
            match &self.xielu {
                Some(xielu) => ops::xielu(xielu.params(), up),
                None => ops::gate(self.activation, up, None),
            }
        };
        self.down.forward(&inner)
    }
}

/// xIELU of a layer; see [`XIeluParams`] for the formula.
#[derive(Module, Debug)]
struct XIelu {
    slopes: XIeluSlopes,
    constants: XIeluConstants,
}

/// What training changes, shape `[1]` each.
#[derive(Module, Debug)]
struct XIeluSlopes {
    alpha_p: Param<Tensor<1>>,
    alpha_n: Param<Tensor<1>>,
}

/// What checkpoints carry unchanged, shape `[1]` each.
#[derive(Module, Debug)]
struct XIeluConstants {
    beta: Param<Tensor<1>>,
    eps: Param<Tensor<1>>,
}

impl XIelu {
    fn new(device: &Device) -> Self {
        let number = || Initializer::Zeros.init([1], device);
        Self {
            slopes: XIeluSlopes { alpha_p: number(), alpha_n: number() },
            constants: XIeluConstants { beta: number(), eps: number() },
        }
    }

    fn params(&self) -> XIeluParams<'_> {
        let (XIeluSlopes { alpha_p, alpha_n }, XIeluConstants { beta, eps }) =
            (&self.slopes, &self.constants);
        XIeluParams { alpha_p, alpha_n, beta, eps }
    }
}
