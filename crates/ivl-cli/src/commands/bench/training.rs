//! A training step of a value against a frozen base.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor};
use ivl_core::{CausalLm, VocabMap, token_tensor};
use ivl_models::TransformerLm;
use ivl_train::{Against, Batch, Example, LearnerSettings, OptimizerConfig, ValueLearner, optimizer};

use super::shape::Model;

/// Rows of a step.
pub const ROWS: usize = 8;

/// A value in training.
pub struct Training<'a> {
    base: &'a TransformerLm,
    batch: Batch,
    learner: Option<ValueLearner>,
    step: Box<dyn FnMut(ValueLearner, burn::optim::GradientsParams) -> ValueLearner>,
    map: VocabMap,
}

impl<'a> Training<'a> {
    /// A value on a device with autodiff, which learns `tokens` tokens of each row.
    pub fn new(base: &'a TransformerLm, value: Model, tokens: usize) -> Result<Self> {
        let map = VocabMap::same_ids(base.vocab(), &value.vocab)?;
        let ids = |row: usize| (0..=tokens).map(move |at| ((row * 104_729 + at * 7919) % 29_989) as u32);
        let examples: Vec<Example> = (0..ROWS)
            .map(|row| {
                let ids: Vec<u32> = ids(row).map(|id| id % base.vocab().size() as u32).collect();
                Example { learnt: vec![true; ids.len()], ids }
            })
            .collect();
        let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
        let mut adamw = optimizer(&OptimizerConfig::default());
        Ok(Self {
            base,
            batch,
            learner: Some(ValueLearner::new(value.net, LearnerSettings::default())),
            step: Box::new(move |learner, gradients| adamw.step(1e-4, learner, gradients)),
            map,
        })
    }

    /// Seconds of a step: both forward passes, loss, backward pass, AdamW.
    pub fn step(&mut self) -> Result<f64> {
        let began = Instant::now();
        let learner = self.learner.take().context("a value in training")?;
        let (batch, device) = (&self.batch, self.base.device());
        let positions = learner.base_positions(batch);
        let positions: Tensor<1, Int> = token_tensor(&positions, 1, &device).reshape([-1]);
        let mut cache = batch.cache(|padding| self.base.new_cache(padding));
        let logits = self.base.lazy_logits_at(batch.tokens(&device), positions, &mut cache);
        let on: Device = learner.value.device();
        let against = Against {
            weight: 1.0,
            logits,
            projection: self.map.on(&on),
            perturbation: None,
            rewritten: None,
        };
        let output = learner.pass(batch, vec![against]);
        let learner = (self.step)(learner, output.grads);
        // The first number of the last parameter: on a device that works ahead, everything is done when it is there.
        if let Some(last) = learner.value.named_parameters().pop() {
            last.tensor.narrow(0, 0, 1).into_data();
        }
        self.learner = Some(learner);
        Ok(began.elapsed().as_secs_f64())
    }
}
