//! Feed-forward layers.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use ivl_kernels::Gate;

use super::Linear;
use super::differentiable;
use super::host::Numbers;
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

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (kernel, packed) = (self.activation.kernel(), self.up.packed.is_some());
        let inner = match &self.gate {
            Some(gate) => {
                let [gate, up] = Linear::forward_all([gate, &self.up], x);
                match kernel {
                    Some(kernel) if packed => by_kernel(kernel, gate, Some(up)),
                    _ => kernel
                        .and_then(|kernel| differentiable::gated(kernel, &gate, &up))
                        .unwrap_or_else(|| self.activation.apply(gate) * up),
                }
            }
            None => {
                let up = self.up.forward(x);
                match kernel {
                    Some(kernel) if packed => by_kernel(kernel, up, None),
                    _ => kernel
                        .and_then(|kernel| differentiable::activated(kernel, &up))
                        .unwrap_or_else(|| self.activation.apply(up)),
                }
            }
        };
        self.down.forward(inner)
    }
}

fn by_kernel(kernel: Gate, x: Tensor<3>, up: Option<Tensor<3>>) -> Tensor<3> {
    let device = x.device();
    let mut x = Numbers::of(x);
    match up {
        Some(up) => kernel.apply_to(x.as_mut_slice(), Numbers::of(up).as_slice()),
        None => kernel.apply(x.as_mut_slice()),
    }
    x.into_tensor(&device)
}

impl Activation {
    /// The kernel of the CPU that computes it.
    fn kernel(self) -> Option<Gate> {
        match self {
            Self::Silu => Some(Gate::Silu),
            Self::GeluTanh => Some(Gate::GeluTanh),
            Self::QuickGelu => Some(Gate::QuickGelu),
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
