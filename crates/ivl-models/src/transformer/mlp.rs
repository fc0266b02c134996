//! Feed-forward layers.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use ivl_kernels::ActivationFn;

use super::Linear;
use super::differentiable;
use super::host::Rows;
use super::states::States;
use crate::config::{Activation, ModelConfig};

/// `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without a gate.
#[derive(Module, Debug)]
pub struct Mlp {
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

    pub(super) fn of(&self, x: &States) -> States {
        match x {
            States::Device(x) => States::Device(self.forward(x.clone())),
            States::Host(rows) => States::Host(rows.with(self.rows(rows))),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let kernel = self.activation.kernel();
        let inner = if let Some(gate) = &self.gate {
            let [gate, up] = Linear::forward_all([gate, &self.up], x);
            kernel
                .and_then(|kernel| differentiable::gated(kernel, &gate, &up))
                .unwrap_or_else(|| self.activation.apply(gate) * up)
        } else {
            let up = self.up.forward(x);
            kernel
                .and_then(|kernel| differentiable::activated(kernel, &up))
                .unwrap_or_else(|| self.activation.apply(up))
        };
        self.down.forward(inner)
    }

    /// [`forward`](Self::forward) on the host.
    fn rows(&self, x: &Rows) -> Vec<f32> {
        let (mut inner, up) = if let Some(gate) = &self.gate {
            let [gate, up] = Linear::rows_all([gate, &self.up], x, &x.numbers);
            (gate, Some(up))
        } else {
            let [up] = Linear::rows_all([&self.up], x, &x.numbers);
            (up, None)
        };
        match (self.activation.kernel(), up) {
            (Some(kernel), Some(up)) => kernel.apply_to(&mut inner, &up),
            (Some(kernel), None) => kernel.apply(&mut inner),
            (None, up) => {
                inner = x.by_backend(&inner, |x| self.activation.apply(x));
                if let Some(up) = up {
                    inner.iter_mut().zip(up).for_each(|(x, up)| *x *= up);
                }
            }
        }
        let [down] = Linear::rows_all([&self.down], x, &inner);
        down
    }
}

impl Activation {
    /// The kernel of the CPU that computes it.
    fn kernel(self) -> Option<ActivationFn> {
        match self {
            Self::Silu => Some(ActivationFn::Silu),
            Self::GeluTanh => Some(ActivationFn::GeluTanh),
            Self::QuickGelu => Some(ActivationFn::QuickGelu),
            Self::Gelu | Self::Relu => None,
        }
    }

    fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Silu => activation::silu(x),
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
            Self::Relu => activation::relu(x),
        }
    }
}
