//! The objective of a step: what is fitted, penalties, perturbations of the bases, and how several bases share the training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the fused model is trained to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveKind {
    /// The tokens of demonstrations, by their cross-entropy.
    #[default]
    CrossEntropy,
    /// The predictions of a teacher on any texts.
    Distill,
    /// Preferences: of each pair of answers, the chosen one is to gain on the rejected one
    /// ([arXiv 2305.18290](https://arxiv.org/abs/2305.18290)). The base is the reference, the fused model the policy.
    Dpo,
}

/// The loss of a pair of answers.
///
/// With `h` the log-probability that the fused model adds to the chosen answer minus that which it adds to the rejected one
/// (averages over tokens if `length_normalized`):
///
/// ```text
/// sigmoid: -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h),    s = label_smoothing
/// ipo:     (h - 1 / (2 beta))^2, always of averages
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct DpoConfig {
    /// How strongly the fused model is held to the base; TRL's 0.1.
    pub beta: f64,
    /// The form of the loss.
    pub loss: PreferenceLoss,
    /// Share of the preferences that are assumed to be wrong (conservative DPO); below 0.5, for `sigmoid` only.
    pub label_smoothing: f64,
    /// Compares average log-probabilities of tokens, not sums, so that long answers count no more than short ones: TRL's
    /// `sigmoid_norm`.
    pub length_normalized: bool,
}

impl Default for DpoConfig {
    fn default() -> Self {
        Self { beta: 0.1, loss: PreferenceLoss::Sigmoid, label_smoothing: 0.0, length_normalized: false }
    }
}

/// The form of the loss of a pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceLoss {
    /// DPO's.
    #[default]
    Sigmoid,
    /// A square, which stops growing the margin at a finite one ([arXiv 2310.12036](https://arxiv.org/abs/2310.12036)).
    Ipo,
}

/// The teacher of a distilled value, and how the value is compared with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DistillConfig {
    /// A directory or hub name of the same vocabulary as the bases: a tuned model, or the base of `values`.
    pub teacher: String,
    /// Values that are added to the teacher's logits: the teacher is then a fused model.
    #[serde(default)]
    pub values: Vec<TeacherValueConfig>,
    /// Divides the logits of teacher and fused model: above 1, improbable tokens count for more.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// Weight of the cross-entropy of the trained tokens beside the divergence from the teacher.
    #[serde(default)]
    pub cross_entropy: f64,
    /// Keeps the teacher's predictions on disk, so that it is loaded and run once, not in every epoch.
    #[serde(default = "default_cache")]
    pub cache: bool,
    /// Where they are kept; `teacher` in the run's output if not set.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// Most probable tokens kept of each prediction, with the exact probability of all others together; 0 keeps all.
    #[serde(default = "default_top_k")]
    pub top_k: usize,
}

/// A value that the teacher consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TeacherValueConfig {
    /// A directory or hub name.
    pub model: String,
    /// Its weight; that of its card, else 1, if not set.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// For a value of another vocabulary: a method of `ivl align` that needs no corpus, such as `hybrid`, or a map file.
    #[serde(default)]
    pub map: Option<String>,
}

fn default_temperature() -> f64 {
    1.0
}

fn default_cache() -> bool {
    true
}

fn default_top_k() -> usize {
    64
}

impl DistillConfig {
    /// A teacher, with all defaults.
    pub fn new(teacher: impl Into<String>) -> Self {
        Self {
            teacher: teacher.into(),
            values: Vec::new(),
            temperature: default_temperature(),
            cross_entropy: 0.0,
            cache: default_cache(),
            dir: None,
            top_k: default_top_k(),
        }
    }
}

impl TeacherValueConfig {
    /// A value with the weight of its card.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), alpha: None, map: None }
    }
}

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
            base_dropout: 0.0,
            base_fade_in: 0.0,
        }
    }
}
