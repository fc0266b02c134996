//! One block of the transformer.

use burn::module::Module;
use burn::tensor::Device;
use ivl_core::cache::KvCache;

use super::attention::Attention;
use super::linear::Linear;
use super::lora_config::Projection;
use super::mask::Mask;
use super::mlp::Mlp;
use super::norm::Norm;
use super::ops::{Activations, Rotation};
use crate::config::{ModelConfig, Wiring};

/// Attention and feed-forward, wired in one of three ways:
///
/// ```text
/// PreNorm                     Sandwich                     Parallel
///
/// x ──┬─ norm ─ attn ─(+)─    x ──┬─ norm ─ attn ─ norm ─(+)─    ┌─ norm ─ attn ─┐
///     └────────────────┘          └───────────────────────┘     x ┼─ norm ─ mlp ──(+)─
///   ──┬─ norm ─ mlp ──(+)─      ──┬─ norm ─ mlp ── norm ─(+)─     └───────────────┘
///     └────────────────┘          └───────────────────────┘     (one norm or two)
/// ```
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention_norm: Norm,
    attention: Attention,
    attention_post_norm: Option<Norm>,
    mlp_norm: Option<Norm>,
    pub(super) mlp: Mlp,
    mlp_post_norm: Option<Norm>,
    #[module(skip)]
    wiring: Wiring,
}

impl Block {
    pub(crate) fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || Norm::new(config.hidden_size, config.norm, device);
        let sandwich = config.wiring == Wiring::Sandwich;
        let shared = config.wiring == Wiring::Parallel { shared_norm: true };
        Self {
            attention_norm: norm(),
            attention: Attention::new(config, layer, device),
            attention_post_norm: sandwich.then(norm),
            mlp_norm: (!shared).then(norm),
            mlp: Mlp::new(config, device),
            mlp_post_norm: sandwich.then(norm),
            wiring: config.wiring,
        }
    }

    /// Every norm of the block.
    pub(super) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let always = std::iter::once(&mut self.attention_norm);
        let others = [&mut self.attention_post_norm, &mut self.mlp_norm, &mut self.mlp_post_norm];
        always.chain(others.into_iter().flatten()).chain(self.attention.norms_mut())
    }

    /// The projections of the block.
    pub(super) fn projections(&self) -> impl Iterator<Item = (Projection, &Linear)> {
        let (attention, mlp) = (&self.attention, &self.mlp);
        let always = [
            (Projection::Query, &attention.query),
            (Projection::Key, &attention.key),
            (Projection::Value, &attention.value),
            (Projection::Output, &attention.output),
            (Projection::Up, &mlp.up),
            (Projection::Down, &mlp.down),
        ];
        always.into_iter().chain(mlp.gate.as_ref().map(|gate| (Projection::Gate, gate)))
    }

    /// The projections of the block, mutable.
    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        let (attention, mlp) = (&mut self.attention, &mut self.mlp);
        let always = [
            (Projection::Query, &mut attention.query),
            (Projection::Key, &mut attention.key),
            (Projection::Value, &mut attention.value),
            (Projection::Output, &mut attention.output),
            (Projection::Up, &mut mlp.up),
            (Projection::Down, &mut mlp.down),
        ];
        always.into_iter().chain(mlp.gate.as_mut().map(|gate| (Projection::Gate, gate)))
    }

    /// # Shapes
    /// - `x` and output: `[batch, seq, hidden]`
    pub(super) fn forward(
        &self,
        x: Activations,
        rotation: Option<&Rotation>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Activations {
        let normed = self.attention_norm.forward(&x);
        let attended = self.attention.forward(&normed, rotation, mask, cache);
        let attended = normalize(self.attention_post_norm.as_ref(), attended);
        if let Wiring::Parallel { .. } = self.wiring {
            let input = self.mlp_norm.as_ref().map_or(normed, |norm| norm.forward(&x));
            return self.mlp.forward(&input) + attended + x;
        }
        let x = x + attended;
        let input = self.mlp_norm.as_ref().map_or(normed, |norm| norm.forward(&x));
        let fed = normalize(self.mlp_post_norm.as_ref(), self.mlp.forward(&input));
        x + fed
    }
}

fn normalize(norm: Option<&Norm>, x: Activations) -> Activations {
    match norm {
        Some(norm) => norm.forward(&x),
        None => x,
    }
}
