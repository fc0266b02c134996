//! The optimizer, its schedule, and the size of a step.

use serde::{Deserialize, Serialize};

/// AdamW ([arXiv 1711.05101](https://arxiv.org/abs/1711.05101)); decay on matrices only, as is the custom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct OptimizerConfig {
    /// Peak learning rate. Without one, [`default_learning_rate`](Self::default_learning_rate) for the network; the paper's
    /// is 1e-4.
    pub learning_rate: Option<f64>,
    /// The paper's 0.01.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Largest norm of the whole gradient; 0 does not clip.
    pub max_grad_norm: f64,
    /// Share of the steps in which the rate rises; the paper's is 0.01.
    pub warmup_ratio: f64,
    /// How it falls afterwards.
    pub schedule: ScheduleKind,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: None,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            warmup_ratio: 0.05,
            schedule: ScheduleKind::Cosine,
        }
    }
}

impl OptimizerConfig {
    /// The learning rate of a network of so many parameters, where none is set. Adapters take the same rate at every size
    /// ([LoRA without regret](https://thinkingmachines.ai/blog/lora/) finds the same); all weights of a network take less the larger
    /// it is. A value takes two or three times the rate of a model that is trained by itself, since its logits begin small
    /// (`value.initial_scale`):
    ///
    /// ```text
    /// adapters:    2e-3 for a value, 1e-3 for a model
    /// all weights: 3e-3 sqrt(1e6 / parameters) for a value, 1e-3 sqrt(1e6 / parameters) for a model, from 1e-5 to 1e-3
    /// ```
    ///
    /// so that a value of a hundred million parameters takes 3e-4 and one of a billion 1e-4.
    pub fn default_learning_rate(adapters: bool, has_base: bool, parameters: usize) -> f64 {
        let by_size = |rate: f64| (rate * (1e6 / parameters.max(1) as f64).sqrt()).clamp(1e-5, 1e-3);
        match (adapters, has_base) {
            (true, true) => 2e-3,
            (true, false) => 1e-3,
            (false, true) => by_size(3e-3),
            (false, false) => by_size(1e-3),
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine, to zero.
    Cosine,
    /// A line, to zero.
    Linear,
    /// Not at all.
    Constant,
}

/// How long, and how much at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct StepsConfig {
    /// Passes over the data: the paper's 3.
    pub epochs: usize,
    /// Most optimizer steps; 0 for no limit but the epochs.
    pub max_steps: usize,
    /// Examples in a forward pass.
    pub batch_size: usize,
    /// Forward passes in a step. Tokens are weighted alike across them: k passes equal one of k times the size.
    pub accumulation: usize,
    /// Positions that go through the heads at once, to bound memory at large vocabularies; 0 for 64 MiB of logits.
    pub head_rows: usize,
    /// The format of the passes; the weights that are trained are f32 in either case. The default is exact everywhere.
    pub precision: Precision,
    /// Recompute cheap intermediate results in the backward pass instead of keeping them: less memory, more time.
    pub gradient_checkpointing: bool,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: 0,
            batch_size: 4,
            accumulation: 1,
            head_rows: 0,
            precision: Precision::F32,
            gradient_checkpointing: false,
        }
    }
}

/// The number format of the forward and backward passes.
///
/// The weights that are trained (masters) are f32 in either case, as are the logits, the loss and the sum of the gradients
/// of several passes. In bf16 each step begins with a rounded copy of the masters; the gradient by the copy is the gradient
/// by the masters, rounded. bf16 has the range of f32, so that no loss scaling is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The type of the master weights.
    #[default]
    F32,
    /// Half the memory of activations, and the fast format of recent GPUs. A CPU converts at every product: slower.
    Bf16,
}
