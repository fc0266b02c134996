//! One block of the transformer.

use burn::module::Module;
use burn::tensor::Device;
use ivl_core::cache::KvCache;

use super::attention::{Attention, Encoding};
use super::experts::Experts;
use super::linear::Linear;
use super::lora_config::Projection;
use super::mask::Mask;
use super::mlp::Mlp;
use super::norm::Norm;
use super::ops::Activations;
use crate::config::{FeedForward, ModelConfig, Wiring};

/// Attention and feed-forward, wired in one of four ways:
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
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention_norm: Option<Norm>,
    attention: Attention,
    attention_post_norm: Option<Norm>,
    mlp_norm: Option<Norm>,
    mlp: Option<Mlp>,
    pub(super) experts: Option<Experts>,
    mlp_post_norm: Option<Norm>,
    #[module(skip)]
    wiring: Wiring,
    #[module(skip)]
    residual_scale: Option<f64>,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || Norm::new(config.hidden_size, config.norm, device);
        let experts = config.experts.filter(|_| config.layers[layer].feed_forward == FeedForward::Experts);
        let before = config.wiring != Wiring::PostNorm;
        let after = matches!(config.wiring, Wiring::Sandwich | Wiring::PostNorm);
        let shared = config.wiring == Wiring::Parallel { shared_norm: true };
        Self {
            attention_norm: before.then(norm),
            attention: Attention::new(config, layer, device),
            attention_post_norm: after.then(norm),
            mlp_norm: (before && !shared).then(norm),
            mlp: experts.is_none().then(|| Mlp::new(config.hidden_size, &config.mlp, device)),
            experts: experts.map(|experts| Experts::new(config, experts, device)),
            mlp_post_norm: after.then(norm),
            wiring: config.wiring,
            residual_scale: config.residual_scale,
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
        norms.into_iter().flatten().chain(self.attention.norms_mut())
    }

    /// The projections of attention and of a dense feed-forward layer.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        let attention = &mut self.attention;
        let attention = [
            (Projection::Query, &mut attention.query),
            (Projection::Key, &mut attention.key),
            (Projection::Value, &mut attention.value),
            (Projection::Output, &mut attention.output),
        ];
        let mlp = self.mlp.iter_mut().flat_map(|mlp| {
            let linears = [(Projection::Up, &mut mlp.up), (Projection::Down, &mut mlp.down)];
            linears.into_iter().chain(mlp.gate.as_mut().map(|gate| (Projection::Gate, gate)))
        });
        attention.into_iter().chain(mlp)
    }

    /// The projections that one token is multiplied with.
    pub(super) fn linears_of_token(&self) -> impl Iterator<Item = &Linear> {
        let experts = self.experts.iter().flat_map(Experts::linears_of_token);
        self.attention.linears().chain(self.mlp.iter().flat_map(Mlp::linears)).chain(experts)
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    fn feed(&self, x: &Activations) -> Activations {
        match (&self.experts, &self.mlp) {
            (Some(experts), _) => experts.forward(x),
            (None, Some(mlp)) => mlp.forward(x),
            (None, None) => unreachable!("a block has a feed-forward layer"),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: Activations,
        encoding: Encoding<'_>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Activations {
        let normed = self.attention_norm.as_ref().map(|norm| norm.forward(&x));
        let attended = self.attention.forward(normed.as_ref().unwrap_or(&x), encoding, mask, cache);
        let attended = normalize(self.attention_post_norm.as_ref(), attended).scaled(self.residual_scale);
        if let Wiring::Parallel { .. } = self.wiring {
            let own = self.mlp_norm.as_ref().map(|norm| norm.forward(&x));
            let fed = self.feed(own.as_ref().or(normed.as_ref()).unwrap_or(&x));
            return fed.scaled(self.residual_scale) + attended + x;
        }
        let x = x + attended;
        let normed = self.mlp_norm.as_ref().map(|norm| norm.forward(&x));
        let fed = self.feed(normed.as_ref().unwrap_or(&x));
        x + normalize(self.mlp_post_norm.as_ref(), fed).scaled(self.residual_scale)
    }
}

fn normalize(norm: Option<&Norm>, x: Activations) -> Activations {
    match norm {
        Some(norm) => norm.forward(&x),
        None => x,
    }
}
