//! The objective of a step: penalties, perturbations of the bases, and how several bases share the training.

use serde::{Deserialize, Serialize};

/// How several bases share the training; see [`MixingStrategy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct MixingConfig {
    /// `sample`, which costs what one base costs, `average` or `worst`.
    pub strategy: MixingStrategy,
    /// Step of the exponentiated gradient of `worst`: a base whose loss is larger by 1 gains a factor of e^0.1 a step.
    pub eta: f64,
}

impl Default for MixingConfig {
    fn default() -> Self {
        Self { strategy: MixingStrategy::Sample, eta: 0.1 }
    }
}

/// How several bases share the training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixingStrategy {
    /// Each step sees one base, drawn by weight: as fast as one base.
    #[default]
    Sample,
    /// Each step sees all, their losses averaged by weight.
    Average,
    /// Each step sees all; those with the larger loss gain weight (group DRO,
    /// [arXiv 1911.08731](https://arxiv.org/abs/1911.08731)).
    Worst,
}

/// Regularisation that keeps the value from depending on its base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct RegularizationConfig {
    /// Weight of the mean of `|v|_1 / vocab` over trained positions; the paper's is 1.
    pub l1: f64,
    /// Weight of the mean of `|v|_2^2 / vocab`. Not in the paper: 0.
    pub l2: f64,
    /// Weight of the mean of KL(fused, base). Not in the paper: 0.
    pub kl: f64,
    /// Divides the base's logits by a number drawn for each pass between 1/this and this; 1 leaves them.
    pub base_temperature: f64,
    /// Standard deviation of the normal noise on each of the base's logits; 0 for none.
    pub base_noise: f64,
    /// Share of the positions at which the base's logits are dropped, so that the value predicts without it; 0 drops none.
    pub base_dropout: f64,
    /// Share of the steps over which the weight of the base's logits rises from 0 to 1. A value that starts as a copy of the
    /// base doubles the logits at the first step; faded in, base and value start at the loss of the base.
    pub base_fade_in: f64,
}

impl Default for RegularizationConfig {
    fn default() -> Self {
        Self {
            l1: 0.0,
            l2: 0.0,
            kl: 0.0,
            base_temperature: 1.0,
            base_noise: 0.0,
            base_dropout: 0.5,
            base_fade_in: 0.0,
        }
    }
}
