//! Feed-forward layers.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use ivl_kernels::Gate;

use super::Linear;
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
        let inner = match (&self.gate, self.kernel()) {
            (Some(gate), kernel) => {
                let [gate, up] = Linear::forward_all([gate, &self.up], x);
                match kernel {
                    Some(kernel) => by_kernel(kernel, gate, Some(up)),
                    None => self.activation.apply(gate) * up,
                }
            }
            (None, Some(kernel)) => by_kernel(kernel, self.up.forward(x), None),
            (None, None) => self.activation.apply(self.up.forward(x)),
        };
        self.down.forward(inner)
    }

    /// The kernel of the CPU that computes the activation.
    fn kernel(&self) -> Option<Gate> {
        self.up.packed.as_ref()?;
        match self.activation {
            Activation::Silu => Some(Gate::Silu),
            Activation::GeluTanh => Some(Gate::GeluTanh),
            Activation::QuickGelu => Some(Gate::QuickGelu),
            Activation::Gelu | Activation::Relu => None,
        }
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
