//! The configuration of a run: one TOML file, or the same from code.

pub(crate) mod data;
pub(crate) mod format;
pub(crate) mod objective;
pub(crate) mod preset;
pub(crate) mod run;
pub(crate) mod steps;
pub(crate) mod unknown_key;
mod validate;

use std::path::{Path, PathBuf};

use ivl_models::transformer::LoraConfig;
use ivl_models::{Connection, FileError};
use serde::{Deserialize, Serialize};

pub use self::data::{Batching, DataConfig, OnError, SourceConfig};
pub use self::format::{Field, Format};
pub use self::objective::{
    DistillConfig, DpoConfig, MixingConfig, MixingStrategy, ObjectiveKind, PreferenceLoss,
    RegularizationConfig, TeacherValueConfig,
};
pub use self::preset::Preset;
pub use self::run::{CheckpointConfig, EvalConfig, ResultKind};
pub use self::steps::{OptimizerConfig, Precision, ScheduleKind, StepsConfig};
use crate::Error;

/// One training run.
///
/// [`from_file`](Self::from_file) and [`read`](Self::read) refuse unknown keys: a misspelt setting must not pass for a
/// default. [`new`](Self::new) gives the defaults, to be changed field by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Where checkpoints, metrics and the trained value go; `runs/value` if it is left out.
    #[serde(default = "default::output")]
    pub output: PathBuf,
    /// The defaults of all settings that are left out: `standard`, or `paper` for those of the paper.
    #[serde(default)]
    pub preset: Preset,
    /// Orders the data and starts random values.
    #[serde(default = "default::seed")]
    pub seed: u64,
    /// What the fused model is trained to fit.
    #[serde(default)]
    pub objective: ObjectiveKind,
    /// The teacher of `objective = "distill"`.
    #[serde(default)]
    pub distill: Option<DistillConfig>,
    /// The loss of `objective = "dpo"`; its defaults without a table.
    #[serde(default)]
    pub dpo: Option<DpoConfig>,
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
    /// Keeps the bases' logits on disk, to train without the bases in memory.
    #[serde(default)]
    pub base_logits: Option<BaseLogitsConfig>,
    /// The network that is trained; without a table, a residual value that starts from the first base.
    #[serde(default)]
    pub value: ValueConfig,
    /// Demonstrations.
    pub data: DataConfig,
    /// AdamW and its schedule.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How long, and how much at once.
    #[serde(default)]
    pub steps: StepsConfig,
    /// Regularisation that keeps the value from depending on its base.
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
#[non_exhaustive]
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
#[non_exhaustive]
pub struct BaseLogitsConfig {
    /// A directory, made if missing; other runs on the same bases and data use it again.
    pub dir: PathBuf,
    /// Most probable ids kept of each distribution, with the exact mass of the rest; 0 keeps all. 64 leave little of a
    /// distribution out; how little is measured when the cache is made.
    #[serde(default = "default::top_k")]
    pub top_k: usize,
}

/// The network that is trained; its tokenizer is copied to the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The last norm of a pre-trained network is multiplied by this at the start, so that the value begins as this share of the
    /// logits that it was copied with: a whole copy would double those of the base. Without one,
    /// [`FRESH_SCALE`](Self::FRESH_SCALE) for a network that is no value yet, and 1 for a value that is trained on, a random
    /// start, and a run without a base. The paper's is 1.
    #[serde(default)]
    pub initial_scale: Option<f64>,
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

impl TrainConfig {
    /// A run with all defaults, without a base.
    pub fn new(output: impl Into<PathBuf>, value: ValueConfig, data: DataConfig) -> Self {
        Self {
            output: output.into(),
            preset: Preset::default(),
            seed: default::seed(),
            objective: ObjectiveKind::default(),
            distill: None,
            dpo: None,
            base: None,
            bases: Vec::new(),
            mixing: MixingConfig::default(),
            base_logits: None,
            value,
            data,
            optimizer: OptimizerConfig::default(),
            steps: StepsConfig::default(),
            regularization: RegularizationConfig::default(),
            checkpoint: CheckpointConfig::default(),
            eval: EvalConfig::default(),
        }
    }

    /// The run against one frozen base.
    #[must_use]
    pub fn with_base(self, base: impl Into<String>) -> Self {
        Self { base: Some(base.into()), ..self }
    }

    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Toml`], or what [`read`](Self::read) and [`validate`](Self::validate) refuse.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| FileError::Io { action: "read", path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let toml = |source| Error::Toml { path: path.to_owned(), source: Box::new(source) };
        let table: toml::Table = text.parse().map_err(toml)?;
        let config = Self::read(table)?;
        config.validate()?;
        Ok(config)
    }
}

impl BaseConfig {
    /// A base of weight 1 that shares its tokens with the value.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), weight: default::weight(), map: None }
    }
}

impl BaseLogitsConfig {
    /// The default number of ids, in a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), top_k: default::top_k() }
    }
}

impl ValueConfig {
    /// The share of a copy's logits that a value begins with: enough for its layers to have gradients, too little to change what
    /// the base says (`docs/regularization.md`).
    pub const FRESH_SCALE: f64 = 0.2;

    /// A residual value that starts from a directory or hub name.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..Self::default() }
    }
}

impl Default for ValueConfig {
    /// A residual value that starts from the first base.
    fn default() -> Self {
        Self {
            model: None,
            connection: Connection::default(),
            init: Init::default(),
            initial_scale: None,
            lora: None,
            init_std: default::init_std(),
            overrides: serde_json::Map::new(),
        }
    }
}

mod default {
    use std::path::PathBuf;

    pub(super) fn output() -> PathBuf {
        PathBuf::from("runs/value")
    }
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
