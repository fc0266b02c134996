//! All that a run sees, as files for trainers outside of ivl.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ivl_models::{Checkpoint, ValueCard, save, save_adapters, write_bytes};
use ivl_train::{Dataset, EpochOrder, ExampleShard, Init, ObjectiveKind, Plan, TrainConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::base::{TrainingBase, logits_file};
use super::encoded_examples::EncodedExamples;
use super::events::{Reporter, TrainEvent};
use super::inputs::{initial_scale, load_value};
use super::models::{TrainingModels, value_name};
use super::value_directory::ValueDirectory;
use crate::device::Placement;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::open_options::OpenOptions;

/// The description of an export; the file `export.json` has it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DataExport {
    /// Version of the layout.
    pub format: u32,
    /// The version of ivl that wrote it.
    pub ivl: String,
    /// SHA-256 of the configuration's file.
    pub config_sha256: String,
    /// The configuration with every default filled in.
    pub config: TrainConfig,
    /// What the value starts from.
    pub value: ExportedValue,
    /// The value's card, of a run without a step; `None` for a model that is trained by itself.
    pub card: Option<ValueCard>,
    /// The longest example in tokens.
    pub max_length: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// The examples to train on.
    pub train: Vec<ExampleShard>,
    /// The held-out examples.
    pub eval: Vec<ExampleShard>,
    /// Fingerprints of both: of the rows, and of all that decides which tokens they become.
    pub fingerprints: [String; 2],
    /// The order of training.
    pub order: Vec<EpochOrder>,
    /// Where `ivl train` looks for the logits of each base; empty without `base_logits`.
    pub base_logits: Vec<ExportedLogits>,
}

/// What the value starts from.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ExportedValue {
    /// A directory or hub name.
    pub model: String,
    /// Its configuration, with what the run replaces in it.
    pub config: Map<String, Value>,
    /// The directory in the export that holds the weights of the start, where they are not those of the model: of a random start,
    /// of new adapters, or with a smaller last norm.
    pub start: Option<String>,
}

/// Where `ivl train` looks for the logits of a base.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ExportedLogits {
    /// The base.
    pub base: String,
    /// For the examples to train on and the held-out ones: the file and the fingerprint in its header.
    pub files: Vec<(PathBuf, String)>,
}

impl DataExport {
    /// Name of the description in the directory of an export. It is written last: without it the export is not whole.
    pub const FILE: &str = "export.json";

    /// The layout that this version writes.
    const FORMAT: u32 = 1;

    /// Writes what a run would see into `out`: tokens, loss masks, the order of the whole run, and random weights that it
    /// starts from. `config_file` are the bytes of the configuration's file; `options` name the device and the type of the
    /// bases' weights, on which the names of logits on disk depend.
    ///
    /// # Errors
    /// Whatever is wrong with configuration, data and models; files that cannot be written.
    pub fn write(
        config: &TrainConfig,
        config_file: &[u8],
        out: &Path,
        options: &OpenOptions,
        on_event: impl FnMut(TrainEvent),
    ) -> Result<Self> {
        config.validate()?;
        if config.objective != ObjectiveKind::CrossEntropy {
            let reason = "`objective` is not cross-entropy, the only one that trainers outside of ivl know";
            return Err(Error::Settings { reason: reason.to_owned() });
        }
        let placement = options.for_training().placement()?;
        let reporter = Reporter::new(on_event);
        let data = [Dataset::open(&config.data.train)?, Dataset::open(&config.data.eval)?];
        let models = TrainingModels::open(config)?;
        std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
        let encoded = EncodedExamples::new(config, &models.encoder(), &data, &reporter)?;
        let base_logits = base_logits(config, &models, &encoded, &placement)?;
        let directory = ValueDirectory::of(config, &models, &encoded);
        let (train, eval) = (encoded.train.export("train", out)?, encoded.eval.export("eval", out)?);
        let plan = Plan::training(Arc::new(encoded.train), &config.steps, &config.data, config.seed);
        let order = plan.export(out)?;
        let export = Self {
            format: Self::FORMAT,
            ivl: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: sha256(config_file),
            config: config.clone(),
            value: ExportedValue {
                model: value_name(config).unwrap_or_default().to_owned(),
                config: models.json.clone(),
                start: write_start(config, &models, &placement, out)?,
            },
            card: directory.empty_card(config),
            max_length: models.max_length(),
            steps: plan.steps(),
            train,
            eval,
            fingerprints: encoded.fingerprints,
            order,
            base_logits,
        };
        let bytes = serde_json::to_vec_pretty(&json!(export)).expect("plain data serialises");
        write_bytes(&out.join(Self::FILE), &bytes)?;
        Ok(export)
    }
}

/// Writes the weights that a run starts from if they are not those of a checkpoint, and names their directory.
fn write_start(
    config: &TrainConfig,
    models: &TrainingModels,
    placement: &Placement,
    out: &Path,
) -> Result<Option<String>> {
    let adapts = config.value.lora.is_some() && models.source.adapters().is_none();
    let is_scaled = initial_scale(config, models)? != 1.0;
    if config.value.init == Init::Checkpoint && !adapts && !is_scaled {
        return Ok(None);
    }
    let name = "start";
    let dir = out.join(name);
    let net = load_value(config, models, Vec::new(), placement)?;
    match (&config.value.lora, value_name(config)) {
        (Some(lora), Some(model)) => save_adapters(&net, lora, model, &models.json, &dir)?,
        _ => save(&net, &models.json, &dir)?,
    }
    Checkpoint::open(&models.source.path)?.write_tokenizer(&dir)?;
    Ok(Some(name.to_owned()))
}

/// Where `ivl train` looks for the logits of each base.
fn base_logits(
    config: &TrainConfig,
    models: &TrainingModels,
    encoded: &EncodedExamples,
    placement: &Placement,
) -> Result<Vec<ExportedLogits>> {
    let Some(settings) = &config.base_logits else { return Ok(Vec::new()) };
    let of_base = |base: &TrainingBase| {
        let weights = base.weights_digest()?;
        let splits = encoded.fingerprints.iter().zip([&encoded.train, &encoded.eval]);
        let splits = splits.filter(|(_, examples)| !examples.is_empty());
        let files = splits.map(|(of, _)| logits_file(base, settings, &weights, of, placement));
        Ok(ExportedLogits { base: base.open.name.clone(), files: files.collect() })
    };
    models.bases.iter().map(of_base).collect()
}
