//! One block of the transformer.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use ivl_core::cache::{KvFormat, LayerMemory};

use super::attention::{Attention, Encoding};
use super::delta_net::DeltaNet;
use super::experts::Experts;
use super::layer_inputs::LayerInput;
use super::linear::Linear;
use super::lora_config::Projection;
use super::mask::Mask;
use super::mixing::Reading;
use super::mlp::Mlp;
use super::norm::Norm;
use super::ops::{self, Activations};
use super::short_convolution::ShortConvolution;
use super::site::Site;
use crate::config::{FeedForward, Mixer, ModelConfig, Wiring};

/// Attention, or another layer that mixes positions, and feed-forward, wired in one of four ways:
///
/// ```text
/// PreNorm                     Sandwich                     Parallel
///
/// x ──┬─ norm ─ attn ─(+)─    x ──┬─ norm ─ attn ─ norm ─(+)─    ┌─ norm ─ attn ─┐
///     └────────────────┘          └───────────────────────┘     x ┼─ norm ─ mlp ──(+)─
///   ──┬─ norm ─ mlp ──(+)─      ──┬─ norm ─ mlp ── norm ─(+)─     └───────────────┘
///     └────────────────┘          └───────────────────────┘     (one norm or two)
/// ```
///
/// PostNorm is Sandwich without the first norm of each. A factor of the model may multiply what is added to `x`.
///
/// A block with a dense layer and experts is a Sandwich with two ways through its feed-forward part:
///
/// ```text
///   ──┬─ norm ─ mlp ───── norm ─┬─(+)─ norm ─(+)─
///     ├─ norm ─ experts ─ norm ─┘             │
///     └───────────────────────────────────────┘
/// ```
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention_norm: Option<Norm>,
    attention: Option<Attention>,
    convolution: Option<ShortConvolution>,
    delta: Option<DeltaNet>,
    attention_post_norm: Option<Norm>,
    mlp_norm: Option<Norm>,
    mlp: Option<Mlp>,
    pub(super) experts: Option<Experts>,
    both: Option<NormsOfBoth>,
    mlp_post_norm: Option<Norm>,
    layer_input: Option<LayerInput>,
    /// Multiplies what the block gives to the next, shape `[1]`; it is not trained.
    scale: Option<Param<Tensor<1>>>,
    #[module(skip)]
    wiring: Wiring,
    #[module(skip)]
    residual_scale: Option<f64>,
    /// Whether kernels of the CPU compute it.
    #[module(skip)]
    packed: bool,
}

/// The norms of a block that has a dense layer and experts, beside those of every block.
#[derive(Module, Debug)]
struct NormsOfBoth {
    /// After the dense layer.
    mlp: Norm,
    /// Before the experts.
    experts: Norm,
    /// After the experts.
    experts_post: Norm,
}

/// What a block knows of the positions that it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Where they are, for attention.
    pub(super) encoding: Encoding<'a>,
    /// What they see, for attention.
    pub(super) mask: &'a Mask,
    /// How far they are in their texts, for recurrent layers.
    pub(super) reading: Reading<'a>,
    /// Vectors of all blocks beside the residual stream.
    pub(super) layer_inputs: Option<&'a Activations>,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || Norm::new(config.hidden_size, config.norm, device);
        let own = &config.layers[layer];
        let experts = config.experts.filter(|_| own.feed_forward.has_experts());
        let both = || NormsOfBoth { mlp: norm(), experts: norm(), experts_post: norm() };
        let (mut attention, mut convolution, mut delta) = (None, None, None);
        match own.mixer {
            Mixer::Attention => attention = Some(Attention::new(config, layer, device)),
            Mixer::ShortConvolution(shape) => {
                convolution = Some(ShortConvolution::new(config.hidden_size, shape, device));
            }
            Mixer::DeltaNet(shape) => delta = Some(DeltaNet::new(config, shape, device)),
        }
        let before = config.wiring != Wiring::PostNorm;
        let after = matches!(config.wiring, Wiring::Sandwich | Wiring::PostNorm);
        let shared = config.wiring == Wiring::Parallel { shared_norm: true };
        Self {
            attention_norm: before.then(norm),
            attention,
            convolution,
            delta,
            attention_post_norm: after.then(norm),
            mlp_norm: (before && !shared).then(norm),
            mlp: config.mlp_of(own).map(|mlp| Mlp::new(config.hidden_size, &mlp, device)),
            experts: experts.map(|experts| Experts::new(config, experts, device)),
            both: (own.feed_forward == FeedForward::Both).then(both),
            mlp_post_norm: after.then(norm),
            layer_input: config.layer_inputs.map(|inputs| LayerInput::new(config, inputs, layer, device)),
            scale: config.scaled_blocks.then(|| Initializer::Zeros.init([1], device)),
            wiring: config.wiring,
            residual_scale: config.residual_scale,
            packed: false,
        }
    }

    /// Every norm of the block.
    pub(super) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let norms = [
            &mut self.attention_norm,
            &mut self.attention_post_norm,
            &mut self.mlp_norm,
            &mut self.mlp_post_norm,
        ];
        let attention = self.attention.iter_mut().flat_map(Attention::norms_mut);
        let delta = self.delta.iter_mut().map(|delta| &mut delta.norm);
        let experts = self.experts.iter_mut().flat_map(Experts::norms_mut);
        let both = self.both.iter_mut();
        let both = both.flat_map(|both| [&mut both.mlp, &mut both.experts, &mut both.experts_post]);
        let input = self.layer_input.iter_mut().map(|input| &mut input.norm);
        norms.into_iter().flatten().chain(attention).chain(delta).chain(experts).chain(both).chain(input)
    }

    /// The projections that adapters can be added to: all but those of experts.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        let attention = self.attention.iter_mut().flat_map(|attention| {
            [
                (Projection::Query, Some(&mut attention.query)),
                (Projection::Key, attention.key.as_mut()),
                (Projection::Value, attention.value.as_mut()),
                (Projection::Output, Some(&mut attention.output)),
            ]
        });
        let attention = attention.filter_map(|(projection, linear)| Some((projection, linear?)));
        let mlp = self.mlp.iter_mut().flat_map(|mlp| {
            let linears = [(Projection::Up, &mut mlp.up), (Projection::Down, &mut mlp.down)];
            linears.into_iter().chain(mlp.gate.as_mut().map(|gate| (Projection::Gate, gate)))
        });
        let convolution = self.convolution.iter_mut().flat_map(|convolution| {
            [
                (Projection::ConvolutionInput, &mut convolution.input),
                (Projection::ConvolutionOutput, &mut convolution.output),
            ]
        });
        let delta = self.delta.iter_mut().flat_map(|delta| {
            [
                (Projection::DeltaMixed, &mut delta.mixed),
                (Projection::DeltaGate, &mut delta.gate),
                (Projection::DeltaForget, &mut delta.forget),
                (Projection::DeltaStrength, &mut delta.strength),
                (Projection::DeltaOutput, &mut delta.output),
            ]
        });
        let input = self.layer_input.iter_mut().flat_map(|input| {
            [(Projection::LayerInputGate, &mut input.gate), (Projection::LayerInputOutput, &mut input.output)]
        });
        attention.chain(convolution).chain(delta).chain(mlp).chain(input)
    }

    /// The projections of experts, with their names.
    pub(super) fn expert_linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.experts.iter_mut().flat_map(Experts::linears_mut)
    }

    /// From now on kernels of the CPU compute the norms, and what attention and recurrent layers have besides projections.
    pub(super) fn pack(&mut self) {
        self.packed = true;
        self.norms_mut().for_each(Norm::pack);
        if let Some(attention) = &mut self.attention {
            attention.pack();
        }
        if let Some(convolution) = &mut self.convolution {
            convolution.filter.pack();
        }
        if let Some(delta) = &mut self.delta {
            delta.filter.pack();
            delta.decay.pack();
        }
    }

    /// Whether kernels of the CPU compute it.
    pub(super) fn is_packed(&self) -> bool {
        self.packed
    }

    /// Where it computes.
    pub(super) fn site(&self) -> Site {
        Site::of(&self.a_projection().weight, self.packed)
    }

    /// The device of its weights.
    pub(super) fn device(&self) -> Device {
        self.a_projection().weight.lazy_device()
    }

    fn a_projection(&self) -> &Linear {
        self.linears_of_token().next().expect("a block has projections")
    }

    /// The projection that makes keys, in a layer of attention that has keys of its own.
    pub(super) fn key_projection(&self) -> Option<&Linear> {
        self.attention.as_ref().and_then(|attention| attention.key.as_ref())
    }

    /// The format of the cache where kernels of the CPU compute attention, in a layer of attention.
    pub(super) fn kv_format(&self) -> Option<KvFormat> {
        self.attention.as_ref().map(Attention::kv_format)
    }

    /// Chooses that format.
    pub(super) fn set_kv_format(&mut self, format: KvFormat) {
        if let Some(attention) = &mut self.attention {
            attention.set_kv_format(format);
        }
    }

    /// The projections that one token is multiplied with.
    pub(super) fn linears_of_token(&self) -> impl Iterator<Item = &Linear> {
        let experts = self.experts.iter().flat_map(Experts::linears_of_token);
        let attention = self.attention.iter().flat_map(Attention::linears);
        let convolution = self.convolution.iter().flat_map(ShortConvolution::linears);
        let delta = self.delta.iter().flat_map(DeltaNet::linears);
        let mlp = self.mlp.iter().flat_map(Mlp::linears);
        let input = self.layer_input.iter().flat_map(LayerInput::linears);
        attention.chain(convolution).chain(delta).chain(mlp).chain(experts).chain(input)
    }

    /// The feed-forward part of a normalised input; `raw` is the input as it was before.
    ///
    /// # Shapes
    /// - `x`, `raw` and output: `[batch, seq, hidden]`
    fn feed(&self, x: &Activations, raw: &Activations) -> Activations {
        match (&self.experts, &self.mlp, &self.both) {
            (Some(experts), Some(mlp), Some(norms)) => {
                let dense = norms.mlp.forward(&mlp.forward(x));
                let mixed = experts.forward(&norms.experts.forward(raw), raw);
                dense + norms.experts_post.forward(&mixed)
            }
            (Some(experts), ..) => experts.forward(x, x),
            (None, Some(mlp), _) => mlp.forward(x),
            (None, None, _) => unreachable!("a block has a feed-forward layer"),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    fn mix(&self, x: &Activations, context: Context<'_>, memory: &mut LayerMemory) -> Activations {
        let Context { encoding, mask, reading, .. } = context;
        match (&self.attention, &self.convolution, &self.delta) {
            (Some(attention), ..) => attention.forward(x, encoding, mask, &mut memory.keys),
            (_, Some(convolution), _) => convolution.forward(x, reading, memory),
            (.., Some(delta)) => delta.forward(x, reading, memory),
            (None, None, None) => unreachable!("a block has a layer that mixes positions"),
        }
    }

    /// Says that this block comes next; see [`ops::expect`].
    pub(super) fn expect(&self) {
        if let Some(attention) = &self.attention {
            attention.expect();
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: Activations,
        context: Context<'_>,
        memory: &mut LayerMemory,
    ) -> Activations {
        let normed = self.attention_norm.as_ref().map(|norm| norm.forward(&x));
        let attended = self.mix(normed.as_ref().unwrap_or(&x), context, memory);
        if let (Some(mlp), None) = (&self.mlp, &self.experts) {
            mlp.expect();
        }
        let attended = normalize(self.attention_post_norm.as_ref(), attended).scaled(self.residual_scale);
        if let Wiring::Parallel { .. } = self.wiring {
            let own = self.mlp_norm.as_ref().map(|norm| norm.forward(&x));
            let fed = self.feed(own.as_ref().or(normed.as_ref()).unwrap_or(&x), &x);
            return self.finish(fed.scaled(self.residual_scale) + attended + x, context.layer_inputs);
        }
        let x = x + attended;
        let normed = self.mlp_norm.as_ref().map(|norm| norm.forward(&x));
        let fed = self.feed(normed.as_ref().unwrap_or(&x), &x);
        let x = x + normalize(self.mlp_post_norm.as_ref(), fed).scaled(self.residual_scale);
        self.finish(x, context.layer_inputs)
    }

    /// Lets the block's own vectors in, and scales what it gives to the next.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    fn finish(&self, x: Activations, layer_inputs: Option<&Activations>) -> Activations {
        let x = match (&self.layer_input, layer_inputs) {
            (Some(own), Some(inputs)) => {
                let added = own.forward(&x, inputs);
                x + added
            }
            _ => x,
        };
        match &self.scale {
            Some(scale) => ops::scale_by(scale, x),
            None => x,
        }
    }
}

fn normalize(norm: Option<&Norm>, x: Activations) -> Activations {
    match norm {
        Some(norm) => norm.forward(&x),
        None => x,
    }
}
