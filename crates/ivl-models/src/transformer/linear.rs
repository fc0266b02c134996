//! A linear projection.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::Lora;

/// `y = x W + b` with `W` of shape `[input, output]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// Shape `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// Shape `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank update, while one is trained.
    pub lora: Option<Lora>,
}

impl Linear {
    pub(crate) fn new(input: usize, output: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([input, output], device),
            bias: bias.then(|| Initializer::Zeros.init([output], device)),
            lora: None,
        }
    }

    /// # Shapes
    /// - `x`: `[batch, seq, input]`
    /// - output: `[batch, seq, output]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, input] = x.dims();
        // In two dimensions: a broadcast batched product copies the weight on the CPU backend.
        let x = x.reshape([batch * seq, input]);
        let y = match &self.lora {
            Some(lora) => x.clone().matmul(self.weight.val()) + lora.forward(x),
            None => x.matmul(self.weight.val()),
        };
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        let output = y.dims()[1];
        y.reshape([batch, seq, output])
    }
}
