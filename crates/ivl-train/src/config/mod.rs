//! What a training run is told, in one TOML.

pub(crate) mod data;
pub(crate) mod unknown_key;

pub use self::data::{Batching, DataConfig, Field, Format, SourceConfig};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use ivl_models::Connection;
use ivl_models::transformer::LoraConfig;

use crate::Error;
use crate::objective::mixing::MixingStrategy;
use crate::step::precision::Precision;

/// One training run. Unknown keys are errors: a misspelt setting must not pass for a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Where checkpoints, metrics and the trained value go.
    pub output: PathBuf,
    /// Orders the data and starts random values.
    #[serde(default = "default::seed")]
    pub seed: u64,
    /// The frozen base: a directory or hub name. Without one the model itself is trained: pre-training from a random
    /// start, full fine-tuning from a checkpoint.
    #[serde(default)]
    pub base: Option<String>,
    /// Several frozen bases, in place of one.
    #[serde(default)]
    pub bases: Vec<BaseConfig>,
    /// How several bases share the training.
    #[serde(default)]
    pub mixing: MixingConfig,
    /// Keep the bases' logits on disk and train without the bases in memory.
    #[serde(default)]
    pub base_logits: Option<BaseLogitsConfig>,
    /// The network that is trained.
    pub value: ValueConfig,
    /// Demonstrations.
    pub data: DataConfig,
    /// AdamW and its schedule.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How long, and how much at once.
    #[serde(default)]
    pub steps: StepsConfig,
    /// What keeps the value from leaning on its base.
    #[serde(default)]
    pub regularization: RegularizationConfig,
    /// Checkpoints to resume from.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// Held-out loss.
    #[serde(default)]
    pub eval: EvalConfig,
}

/// One of several frozen bases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// A directory or hub name.
    pub model: String,
    /// Its share among the bases.
    #[serde(default = "default::weight")]
    pub weight: f64,
    /// For a base of another vocabulary: a method of `ivl align` that needs no corpus, such as `hybrid`, or a map file.
    #[serde(default)]
    pub map: Option<String>,
}

/// Where the logits of frozen bases are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseLogitsConfig {
    /// A directory; made if it is not there, used again by other runs on the same bases and data.
    pub dir: PathBuf,
    /// Most probable ids kept of each distribution, with the exact mass of the rest; 0 keeps all. 64 leave little of a
    /// distribution out; how little is measured when the cache is made.
    #[serde(default = "default::top_k")]
    pub top_k: usize,
}

/// How several bases share the training; see [`MixingStrategy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

/// The network that is trained; its tokenizer is copied to the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueConfig {
    /// A directory or hub name with `config.json` and tokenizer; without one, the first base.
    #[serde(default)]
    pub model: Option<String>,
    /// `residual` reads the text (the paper's best practice), `cascade` the base's predictions, `cascade-text` both.
    #[serde(default)]
    pub connection: Connection,
    /// `checkpoint` starts from its weights (the paper's best practice), `random` from noise.
    #[serde(default)]
    pub init: Init,
    /// Train low-rank adapters on frozen weights, in place of the weights.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// Standard deviation of a random start.
    #[serde(default = "default::init_std")]
    pub init_std: f64,
    /// Fields of `config.json` to replace, for a random start of another size.
    #[serde(default)]
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

/// How the trained network starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// From the weights of a checkpoint.
    #[default]
    Checkpoint,
    /// From noise.
    Random,
}

/// AdamW ([arXiv 1711.05101](https://arxiv.org/abs/1711.05101)); decay on matrices only, as is the custom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate: the paper's 1e-4.
    pub learning_rate: f64,
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
    /// Share of the steps in which the rate rises: the paper's 0.01.
    pub warmup_ratio: f64,
    /// How it falls afterwards.
    pub schedule: ScheduleKind,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            warmup_ratio: 0.01,
            schedule: ScheduleKind::Cosine,
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
#[serde(deny_unknown_fields, default)]
pub struct StepsConfig {
    /// Passes over the data: the paper's 3.
    pub epochs: usize,
    /// Stop after so many steps; 0 for no other limit than the epochs.
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

/// What keeps the value from leaning on its base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegularizationConfig {
    /// Weight of the mean of `|v|_1 / vocab` over trained positions: the paper's 1, since a value is meant to travel.
    pub l1: f64,
    /// Weight of the mean of `|v|_2^2 / vocab`. Not in the paper: 0.
    pub l2: f64,
    /// Weight of the mean of KL(fused, base). Not in the paper: 0.
    pub kl: f64,
    /// Divides the base's logits by a number drawn for each pass between 1/this and this; 1 leaves them.
    pub base_temperature: f64,
    /// Standard deviation of the normal noise on each of the base's logits; 0 for none.
    pub base_noise: f64,
    /// Share of the positions at which the base is silent, so that the value speaks alone; 0 for none.
    pub base_dropout: f64,
}

impl Default for RegularizationConfig {
    fn default() -> Self {
        Self { l1: 1.0, l2: 0.0, kl: 0.0, base_temperature: 1.0, base_noise: 0.0, base_dropout: 0.0 }
    }
}

/// Checkpoints to resume from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two; 0 writes one when the run ends or is stopped.
    pub every: usize,
    /// How many are kept.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 0, keep: 2 }
    }
}

/// Held-out loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Steps between two evaluations; 0 for one before and one after training.
    pub every: usize,
    /// Examples in a forward pass.
    pub batch_size: usize,
    /// Other bases to plug the value into: none of them is trained on.
    pub bases: Vec<String>,
    /// For those of another vocabulary: a method of `ivl align` that needs no corpus, such as `hybrid`, or a map file.
    pub map: Option<String>,
    /// The held-out figure that is watched: the loss on this base, named as it is elsewhere. Without it the mean over
    /// all of them: a value is made to be plugged into any.
    pub figure: Option<String>,
    /// Evaluations without improvement after which the run ends; 0 runs to the end, as the paper does.
    pub patience: usize,
    /// Fall of the figure, in nats, that counts as an improvement.
    pub min_improvement: f64,
    /// Which value is the result.
    pub result: ResultKind,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 0,
            batch_size: 8,
            bases: Vec::new(),
            map: None,
            figure: None,
            patience: 0,
            min_improvement: 0.0,
            result: ResultKind::Best,
        }
    }
}

/// Which value a run leaves behind. Who measures the held-out loss during training wants the value that does best on it,
/// so `best` is the default; without evaluation during training there is only the last one, and both are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    /// The one with the lowest held-out figure.
    #[default]
    Best,
    /// The one of the last step.
    Last,
}

mod default {
    pub(super) fn seed() -> u64 {
        42
    }
    pub(super) fn top_k() -> usize {
        64
    }
    pub(super) fn weight() -> f64 {
        1.0
    }
    pub(super) fn init_std() -> f64 {
        0.02
    }
}

impl TrainConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for the first that is outside.
    pub fn validate(&self) -> Result<(), Error> {
        let number = |ok: bool, name, expected, got: f64| {
            if ok { Ok(()) } else { Err(Error::InvalidSetting { name, expected, got: got.to_string() }) }
        };
        let o = &self.optimizer;
        let at_least = |min: f64, x: f64| x.is_finite() && x >= min;
        number(at_least(0.0, o.learning_rate), "optimizer.learning_rate", "0 or more", o.learning_rate)?;
        number(at_least(0.0, o.weight_decay), "optimizer.weight_decay", "0 or more", o.weight_decay)?;
        number((0.0..1.0).contains(&o.beta1), "optimizer.beta1", "0 to below 1", o.beta1)?;
        number((0.0..1.0).contains(&o.beta2), "optimizer.beta2", "0 to below 1", o.beta2)?;
        number(o.epsilon > 0.0 && o.epsilon.is_finite(), "optimizer.epsilon", "above 0", o.epsilon)?;
        number(at_least(0.0, o.max_grad_norm), "optimizer.max_grad_norm", "0 or more", o.max_grad_norm)?;
        number((0.0..=1.0).contains(&o.warmup_ratio), "optimizer.warmup_ratio", "0 to 1", o.warmup_ratio)?;
        let r = &self.regularization;
        for (name, weight) in [
            ("regularization.l1", r.l1),
            ("regularization.l2", r.l2),
            ("regularization.kl", r.kl),
            ("regularization.base_noise", r.base_noise),
            ("mixing.eta", self.mixing.eta),
        ] {
            number(at_least(0.0, weight), name, "0 or more", weight)?;
        }
        let (temperature, dropout) = (r.base_temperature, r.base_dropout);
        number(at_least(1.0, temperature), "regularization.base_temperature", "1 or more", temperature)?;
        number((0.0..1.0).contains(&dropout), "regularization.base_dropout", "0 to below 1", dropout)?;
        for base in &self.bases {
            number(base.weight > 0.0 && base.weight.is_finite(), "bases.weight", "above 0", base.weight)?;
        }
        let both = self.base.is_some() && !self.bases.is_empty();
        number(!both, "bases", "none beside `base`: give the one or the others", self.bases.len() as f64)?;
        let baseless = self.base.is_none() && self.bases.is_empty();
        number(
            !(baseless && self.value.connection != Connection::Residual),
            "value.connection",
            "residual where there is no base to read from, so a number of bases above 0",
            0.0,
        )?;
        let cascade = self.value.connection != Connection::Residual;
        number(
            !(cascade && self.base_logits.is_some()),
            "base_logits",
            "left out for a cascade value, which reads the base at every position",
            0.0,
        )?;
        let mapped = self.bases.iter().filter(|base| base.map.is_some()).count();
        number(
            mapped == 0 || !cascade && self.base_logits.is_none(),
            "bases.map",
            "left out for a cascade value, which reads the base's own vocabulary, and with base_logits",
            mapped as f64,
        )?;
        if let Some(lora) = &self.value.lora {
            number(lora.rank > 0 && lora.rank <= 4096, "value.lora.rank", "1 to 4096", lora.rank as f64)?;
            number(lora.alpha > 0.0 && lora.alpha.is_finite(), "value.lora.alpha", "above 0", lora.alpha)?;
            let targets = lora.targets.len();
            number(targets > 0, "value.lora.targets", "at least one projection", targets as f64)?;
            let trained = self.value.init == Init::Checkpoint;
            number(
                trained,
                "value.lora",
                "left out where value.init is \"random\": there is nothing to adapt",
                0.0,
            )?;
        }
        let nothing = baseless && self.value.model.is_none();
        number(!nothing, "value.model", "a directory or hub name where there is no base to start from", 0.0)?;
        number(at_least(0.0, self.value.init_std), "value.init_std", "0 or more", self.value.init_std)?;
        number(
            at_least(0.0, self.eval.min_improvement),
            "eval.min_improvement",
            "0 or more",
            self.eval.min_improvement,
        )?;
        let patient = self.eval.patience > 0 && (self.eval.every == 0 || self.data.eval.is_empty());
        number(
            !patient,
            "eval.patience",
            "0, unless data.eval and eval.every are set",
            self.eval.patience as f64,
        )?;
        self.validate_figure()?;
        let counts = [
            ("steps.epochs", self.steps.epochs, 1),
            ("steps.batch_size", self.steps.batch_size, 1),
            ("steps.accumulation", self.steps.accumulation, 1),
            ("eval.batch_size", self.eval.batch_size, 1),
            ("checkpoint.keep", self.checkpoint.keep, 1),
        ];
        for (name, got, min) in counts {
            number(got >= min, name, "1 or more", got as f64)?;
        }
        self.data.validate()?;
        let overridden = !self.value.overrides.is_empty() && self.value.init == Init::Checkpoint;
        number(
            !overridden,
            "value.overrides",
            "nothing, unless value.init is \"random\"",
            self.value.overrides.len() as f64,
        )
    }

    /// The figure must be the loss on a base that is measured.
    fn validate_figure(&self) -> Result<(), Error> {
        let Some(figure) = &self.eval.figure else { return Ok(()) };
        let several = self.bases.iter().map(|base| &base.model);
        if self.base.iter().chain(several).chain(&self.eval.bases).any(|base| base == figure) {
            return Ok(());
        }
        Err(Error::InvalidSetting {
            name: "eval.figure",
            expected: "the name of a base or of one of `eval.bases`, as written there",
            got: format!("{figure:?}"),
        })
    }
}
