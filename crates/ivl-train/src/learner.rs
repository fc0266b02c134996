//! The value as burn-train sees it: a module with a training step.

use burn::module::Module;
use burn::module::ParamGroup;
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use ivl_core::Projection;
use ivl_models::Transformer;

use crate::batch::Batch;
use crate::config::OptimizerConfig;
use crate::loss::{Loss, value_loss};

/// The network that is trained. The frozen base is not part of it: its logits come with the batch, as constants.
#[derive(Module, Debug)]
pub struct ValueLearner {
    /// The network.
    pub value: Transformer,
    #[module(skip)]
    settings: Settings,
}

#[derive(Debug, Clone)]
struct Settings {
    l1: f64,
    projection: Option<Projection>,
}

/// What a pass reports: means over its tokens.
#[derive(Debug, Clone)]
pub struct PassOutput {
    /// Cross-entropy for each token, shape `[1]`.
    pub cross_entropy: Tensor<1>,
    /// `|v|_1 / vocab` for each token, shape `[1]`.
    pub norm: Tensor<1>,
    /// Learnt tokens.
    pub tokens: usize,
}

impl ValueLearner {
    /// A value to train with an L1 penalty; `projection` leads from its vocabulary to the base's.
    pub fn new(value: Transformer, l1: f64, projection: Option<Projection>) -> Self {
        Self { value, settings: Settings { l1, projection } }
    }

    /// The objective on a batch.
    pub fn loss(&self, batch: &Batch) -> Loss {
        let device = self.value.device();
        let tokens = batch.tokens(&device);
        let tokens = match &self.settings.projection {
            Some(projection) => projection.tokens(tokens),
            None => tokens,
        };
        let mut cache = batch.cache(|padding| self.value.new_cache(padding));
        let value = self.value.logits_at(tokens, batch.position_tensor(&device), &mut cache);
        let value = match &self.settings.projection {
            Some(projection) => projection.rows(value),
            None => value,
        };
        value_loss(
            batch.base.clone(),
            value,
            batch.target_tensor(&device),
            self.settings.l1,
            batch.step_tokens,
        )
    }
}

impl TrainStep for ValueLearner {
    type Input = Batch;
    type Output = PassOutput;

    fn step(&self, batch: Batch) -> TrainOutput<PassOutput> {
        let loss = self.loss(&batch);
        let gradients = loss.objective.backward();
        TrainOutput::new(self, gradients, PassOutput::new(&loss, batch.targets.len()))
    }
}

impl InferenceStep for ValueLearner {
    type Input = Batch;
    type Output = PassOutput;

    fn step(&self, batch: Batch) -> PassOutput {
        PassOutput::new(&self.loss(&batch), batch.targets.len())
    }
}

impl PassOutput {
    fn new(loss: &Loss, tokens: usize) -> Self {
        let mean = |sum: &Tensor<1>| sum.clone().without_autodiff() / tokens.max(1) as f64;
        Self { cross_entropy: mean(&loss.cross_entropy), norm: mean(&loss.norm), tokens }
    }
}

impl ItemLazy for PassOutput {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for PassOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.cross_entropy.clone())
    }
}

/// AdamW with decay on matrices only: norms and biases are left alone.
pub fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let adamw = |weight_decay: f64| {
        AdamWConfig::new()
            .with_beta_1(config.beta1 as f32)
            .with_beta_2(config.beta2 as f32)
            .with_epsilon(config.epsilon as f32)
            .with_weight_decay(weight_decay as f32)
    };
    let optimizer = adamw(config.weight_decay).init();
    match ParamGroup::from_regex(r"(norm\.weight|\.bias)$") {
        Ok(undecayed) => optimizer.with_group(undecayed, adamw(0.0).build(), None),
        Err(_) => optimizer,
    }
}
