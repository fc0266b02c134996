//! Gated delta networks ([arXiv 2412.06464](https://arxiv.org/abs/2412.06464)).

use std::sync::Arc;

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_core::cache::LayerMemory;

use super::filter::Filter;
use super::linear::Linear;
use super::mixing::Reading;
use super::norm::Norm;
use super::ops::{self, Activations, DecayParams, Numbers};
use crate::config::{Activation, DeltaNetConfig, ModelConfig, NormConfig, NormKind};

/// Heads that each keep a matrix from keys to values:
///
/// ```text
/// q, k, v = act(conv(W x))        a = exp(-exp(rate) softplus(W_a x + bias))        b = sigmoid(W_b x)
/// S = a S + b k (v - (a S)^T k)^T
/// output = W_o (norm(S^T q) * silu(W_z x))
/// ```
///
/// with queries and keys of length one, and a norm over each head.
#[derive(Module, Debug)]
pub(crate) struct DeltaNet {
    /// Queries, keys and values.
    pub(super) mixed: Linear,
    /// `W_z`.
    pub(super) gate: Linear,
    /// `W_a`.
    pub(super) forget: Linear,
    /// `W_b`.
    pub(super) strength: Linear,
    pub(super) filter: Filter,
    pub(super) decay: Decay,
    pub(super) norm: Norm,
    pub(super) output: Linear,
    #[module(skip)]
    config: DeltaNetConfig,
    #[module(skip)]
    activation: Activation,
}

/// How fast each head forgets.
#[derive(Module, Debug)]
pub(crate) struct Decay {
    /// The logarithm of the rate, shape `[value_heads]`.
    rate: Param<Tensor<1>>,
    /// Shape `[value_heads]`.
    bias: Param<Tensor<1>>,
    #[module(skip)]
    packed: Option<Arc<[Vec<f32>; 2]>>,
}

impl Decay {
    /// From now on kernels of the CPU compute it, from the weights that it has.
    pub(super) fn pack(&mut self) {
        let numbers = |param: &Param<Tensor<1>>| Numbers::of(param).as_slice().to_vec();
        self.packed = Some(Arc::new([numbers(&self.rate), numbers(&self.bias)]));
    }
}

impl DeltaNet {
    pub(super) fn new(config: &ModelConfig, delta: DeltaNetConfig, device: &Device) -> Self {
        let hidden = config.hidden_size;
        let linear = |output: usize| Linear::new(hidden, output, false, device);
        let heads = || Initializer::Zeros.init([delta.value_heads], device);
        let norm = NormConfig { kind: NormKind::Rms, eps: config.norm.eps };
        Self {
            mixed: linear(delta.channels()),
            gate: linear(delta.value_heads * delta.value_dim),
            forget: linear(delta.value_heads),
            strength: linear(delta.value_heads),
            filter: Filter::new(delta.kernel, delta.channels(), false, device),
            decay: Decay { rate: heads(), bias: heads(), packed: None },
            norm: Norm::new(delta.value_dim, norm, device),
            output: Linear::new(delta.value_heads * delta.value_dim, hidden, false, device),
            config: delta,
            activation: config.mlp.activation,
        }
    }

    /// The projections.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.mixed, &self.gate, &self.forget, &self.strength, &self.output].into_iter()
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: &Activations,
        reading: Reading<'_>,
        memory: &mut LayerMemory,
    ) -> Activations {
        let layers = [&self.mixed, &self.gate, &self.forget, &self.strength];
        let [mixed, gate, forget, strength] = Linear::forward_all(layers, x);
        let decay = DecayParams {
            rate: &self.decay.rate,
            bias: &self.decay.bias,
            packed: self.decay.packed.as_deref(),
        };
        let read = reading.mix(memory, |positions, ages, state| {
            let [mixed, forget, strength] =
                [&mixed, &forget, &strength].map(|x| ops::positions(x, positions.clone()));
            let convolved = self.filter.forward(&mixed, ages, state);
            let convolved = ops::gate(self.activation, convolved, None);
            let inputs = [convolved, forget, strength];
            ops::delta_rule(self.config, decay, inputs, ages, &mut state.memory)
        });
        let normed = self.norm.forward(&read);
        self.output.forward(&ops::gate(Activation::Silu, gate, Some(normed)))
    }
}
