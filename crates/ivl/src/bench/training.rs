//! A training step of a value against a frozen base.

use std::rc::Rc;
use std::time::Instant;

use burn::optim::GradientsParams;
use ivl_core::{CausalLm, VocabMap};
use ivl_models::TransformerLm;
use ivl_train::{
    BaseLogits, Batch, Example, FrozenBase, LearnerSettings, Precision, StepGradients, TrainConfig,
    ValueLearner, Workers, clip_gradient_norm, optimizer,
};

use super::shape::BenchModel;
use crate::error::{Error, Result};

/// Rows of a step.
pub(super) const ROWS: usize = 8;

/// The settings of a step, besides its precision: the defaults of `ivl train`.
const CONFIG: &str =
    "output = ''\nbase = 'base'\n[value]\n[data]\ntrain = ['rows']\n[optimizer]\nlearning_rate = 1e-4";

/// A value in training.
pub(super) struct TrainingStep {
    workers: Workers,
    batch: Batch,
    learner: Option<ValueLearner>,
    step: Box<dyn FnMut(ValueLearner, GradientsParams) -> ValueLearner>,
    config: TrainConfig,
}

impl TrainingStep {
    /// A value on a device with autodiff, which learns `tokens` tokens of each row.
    pub(super) fn new(
        base: &TransformerLm,
        value: BenchModel,
        tokens: usize,
        precision: Precision,
    ) -> Result<Self> {
        let mut config: TrainConfig = toml::from_str(CONFIG).expect("the configuration above is whole");
        config.steps.precision = precision;
        let map = VocabMap::same_ids(base.vocab(), &value.vocab)?;
        let ids = |row: usize| (0..=tokens).map(move |at| ((row * 104_729 + at * 7919) % 29_989) as u32);
        let examples: Vec<Example> = (0..ROWS)
            .map(|row| {
                let ids: Vec<u32> = ids(row).map(|id| id % base.vocab().size() as u32).collect();
                Example { loss_mask: vec![true; ids.len()], ids }
            })
            .collect();
        let base = FrozenBase::new("base", BaseLogits::Lm(Rc::new(base.clone())), map);
        let mut adamw = optimizer(&config.optimizer);
        let rate = config.optimizer.learning_rate.expect("the configuration above sets it");
        Ok(Self {
            workers: Workers::new(vec![base], Vec::new(), &config, 1),
            batch: Batch::new(&examples.iter().collect::<Vec<_>>()),
            learner: Some(ValueLearner::new(value.net, LearnerSettings::new(&config))),
            step: Box::new(move |learner, gradients| adamw.step(rate, learner, gradients)),
            config,
        })
    }

    /// Seconds of a step: both forward passes, loss, backward pass, clipping, AdamW.
    pub(super) fn seconds(&mut self) -> Result<f64> {
        let began = Instant::now();
        let learner = self.learner.take().expect("every step puts its learner back");
        let StepGradients { mut gradients, .. } =
            self.workers.gradients(&learner, vec![self.batch.clone()], &[(0, 1.0)], 0)?;
        clip_gradient_norm(&learner, &mut gradients, self.config.optimizer.max_grad_norm);
        let learner = (self.step)(learner, gradients);
        // A device works ahead of the program.
        learner.value.device().sync().map_err(|error| Error::Device(Box::new(error)))?;
        self.learner = Some(learner);
        Ok(began.elapsed().as_secs_f64())
    }
}
