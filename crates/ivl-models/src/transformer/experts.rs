//! Feed-forward layers that are mixtures of experts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::linear::Linear;
use super::mlp::Mlp;
use super::norm::Norm;
use super::ops::{self, Activations, Routing};
use crate::config::{ExpertsConfig, MlpConfig, ModelConfig};

/// `sum p_e(x) expert_e(x)` over the experts that the router chooses for `x`, where `p` is the softmax of the router's logits,
/// and an expert for every token if the model has one. A scaled router reads `norm(x) / sqrt(hidden_size)` in the place of `x`, and
/// multiplies the output of an expert by a number of its own.
///
/// Each expert has matrices of its own, so that a step reads those of the chosen experts and no others.
#[derive(Module, Debug)]
pub(crate) struct Experts {
    router: Linear,
    router_norm: Option<Norm>,
    /// Multiply the outputs of experts, shape `[experts]`.
    factors: Option<Param<Tensor<1>>>,
    each: Vec<Mlp>,
    shared: Option<Mlp>,
    shared_gate: Option<Linear>,
    #[module(skip)]
    config: ExpertsConfig,
    /// Experts whose matrices were read, over all passes of this network and its copies.
    #[module(skip)]
    reads: Arc<AtomicU64>,
}

impl Experts {
    pub(super) fn new(config: &ModelConfig, experts: ExpertsConfig, device: &Device) -> Self {
        let hidden = config.hidden_size;
        let mlp = |intermediate_size| {
            let mlp = MlpConfig { intermediate_size, gated: true, bias: experts.bias, ..config.mlp };
            Mlp::new(hidden, &mlp, device)
        };
        let gated = experts.shared.is_some_and(|shared| shared.gated);
        let factors = || Initializer::Zeros.init([experts.count], device);
        Self {
            router: Linear::new(hidden, experts.count, experts.bias, device),
            router_norm: experts.scaled_router.then(|| Norm::new(hidden, config.norm, device)),
            factors: experts.scaled_router.then(factors),
            each: (0..experts.count).map(|_| mlp(experts.intermediate_size)).collect(),
            shared: experts.shared.map(|shared| mlp(shared.intermediate_size)),
            shared_gate: gated.then(|| Linear::new(hidden, 1, false, device)),
            config: experts,
            reads: Arc::default(),
        }
    }

    /// The norm of a scaled router.
    pub(super) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        self.router_norm.iter_mut()
    }

    /// # Shapes
    /// - `x`, `routed` and output: `[batch, seq, hidden]`: the input of experts, and what the router reads
    pub(super) fn forward(&self, x: &Activations, routed: &Activations) -> Activations {
        let ExpertsConfig { per_token, renormalized, .. } = self.config;
        let logits = match &self.router_norm {
            Some(norm) => {
                let hidden = self.router.shape()[0] as f64;
                self.router.forward(&norm.forward(routed).scaled(Some(hidden.powf(-0.5))))
            }
            None => self.router.forward(routed),
        };
        let routing = Routing::new(logits, per_token, renormalized, self.factors.as_ref());
        self.reads.fetch_add(routing.chosen().count() as u64, Ordering::Relaxed);
        let mut sum = ops::zeros_like(x);
        for (expert, rows) in routing.chosen() {
            let fed = self.each[expert].forward(&ops::rows(x, rows));
            sum = routing.add_to(sum, expert, rows, fed);
        }
        let Some(shared) = &self.shared else { return sum };
        let fed = shared.forward(x);
        sum + match &self.shared_gate {
            Some(gate) => ops::gate_positions(gate.forward(x), fed),
            None => fed,
        }
    }

    /// Experts whose matrices were read so far; every position of a pass may choose others.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The projections of one of the experts that a router chooses.
    pub(super) fn linears_of_expert(&self) -> impl Iterator<Item = &Linear> {
        self.each.iter().take(1).flat_map(Mlp::linears)
    }

    /// The experts that one token goes through.
    pub(super) fn per_token(&self) -> usize {
        self.config.per_token
    }

    /// The projections of all experts.
    pub(super) fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        let each = self.each.iter_mut().enumerate();
        let each = each.flat_map(|(expert, mlp)| named(format!("each.{expert}"), mlp));
        let shared = self.shared.iter_mut().flat_map(|mlp| named("shared".to_owned(), mlp));
        let gate = self.shared_gate.iter_mut().map(|gate| ("shared_gate".to_owned(), gate));
        each.chain(shared).chain(gate).chain(std::iter::once(("router".to_owned(), &mut self.router)))
    }

    /// The projections that one token is multiplied with, by the chosen experts as if they were the first.
    pub(super) fn linears_of_token(&self) -> impl Iterator<Item = &Linear> {
        let experts = self.each.iter().take(self.config.per_token).chain(&self.shared);
        experts.flat_map(Mlp::linears).chain(&self.shared_gate).chain(std::iter::once(&self.router))
    }
}

fn named(path: String, mlp: &mut Mlp) -> impl Iterator<Item = (String, &mut Linear)> {
    let linears = [("up", Some(&mut mlp.up)), ("down", Some(&mut mlp.down)), ("gate", mlp.gate.as_mut())];
    linears.into_iter().filter_map(move |(name, linear)| Some((format!("{path}.{name}"), linear?)))
}
