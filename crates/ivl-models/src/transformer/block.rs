//! One block of the transformer.

use burn::module::Module;
use burn::tensor::Device;
use ivl_core::cache::KvCache;

use super::mask::Mask;
use super::ops::{Activations, Rotation};
use super::{Attention, Mlp, Norm};
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
    pub(super) attention: Attention,
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
