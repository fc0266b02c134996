//! From a configuration to a value directory.

mod base;
mod encoded_examples;
mod events;
mod export;
mod inputs;
mod logit_writer;
mod metrics_file;
mod models;
mod preview;
mod records;
mod teacher;
mod value_directory;
mod workers;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_models::ValueCard;
use ivl_train::{EvalReport, Event, Interrupter, Precision, Run, TrainConfig, Trained};

use self::events::Reporter;
pub use self::events::TrainEvent;
pub use self::export::{DataExport, ExportedLogits, ExportedValue};
use self::inputs::TrainingInputs;
pub use self::models::TrainingModels;
pub use self::preview::{DataPreview, DataStatistics, PreviewedExample};
use self::records::Records;
pub use self::records::is_result_of;
use self::value_directory::ValueDirectory;
use self::workers::workers;
use crate::device::Placement;
use crate::error::{Error, Result};
use crate::open_options::OpenOptions;

/// A trained value, or a model that was trained by itself, and where it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrainedValue {
    /// The directory, an ordinary Hugging Face checkpoint.
    pub output: PathBuf,
    /// The value's card; `None` for a model that was trained by itself.
    pub card: Option<ValueCard>,
    /// The run: its steps, its held-out losses, and the network.
    pub run: Trained,
}

impl TrainedValue {
    /// The held-out losses that the value does not lower: on these bases it is better left out.
    pub fn not_improved(&self) -> impl Iterator<Item = &EvalReport> {
        self.run.evals.iter().filter(|eval| eval.base_loss.is_some_and(|alone| eval.loss >= alone))
    }

    /// Whether the value adds nothing: all its logits are 0 in the last step.
    pub fn is_dead(&self) -> bool {
        self.card.is_some() && self.run.last.as_ref().is_some_and(|last| last.value_norm == 0.0)
    }
}

/// Trains a value against its frozen bases, or a model by itself, and writes the directory that the configuration names.
/// `on_event` receives the events.
///
/// # Errors
/// Whatever is wrong with configuration, data and models, before the first step;
/// [`ivl_train::Error::OutputExists`] if the directory already holds a model.
pub fn train(config: &TrainConfig, on_event: impl FnMut(TrainEvent)) -> Result<TrainedValue> {
    Training::new(config).run(on_event)
}

/// A training run, with more to choose than [`train`](fn@crate::train) has.
#[derive(Clone)]
pub struct Training<'a> {
    config: &'a TrainConfig,
    resume: bool,
    extend: bool,
    options: OpenOptions,
    interrupter: Interrupter,
}

impl<'a> Training<'a> {
    /// A run from the beginning, on the best device that is found.
    pub fn new(config: &'a TrainConfig) -> Self {
        Self {
            config,
            resume: false,
            extend: false,
            options: OpenOptions::new(),
            interrupter: Interrupter::new(),
        }
    }

    /// Goes on from the last complete checkpoint.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Goes on from the last complete checkpoint of a run with fewer epochs or steps, finished or not.
    #[must_use]
    pub fn extend(mut self, extend: bool) -> Self {
        self.extend = extend;
        self
    }

    /// Device, or several of them separated by commas, and the type of the bases' weights.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Stops the run after a step, from any thread; a checkpoint is written.
    #[must_use]
    pub fn interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = interrupter;
        self
    }

    /// Trains, and writes the directory that the configuration names.
    ///
    /// # Errors
    /// As [`train`](fn@crate::train); [`Error::Interrupted`] if the run was stopped.
    pub fn run(self, on_event: impl FnMut(TrainEvent)) -> Result<TrainedValue> {
        let Self { config, resume, extend, options, interrupter } = self;
        let options = options.for_training();
        config.validate()?;
        prepare_output(&config.output, resume || extend)?;
        let placements = options.training_placements()?;
        check_precision(config, &placements, &options.device)?;
        let (first, others) = (&placements[0], &placements[1..]);
        let reporter = Reporter::new(on_event);
        let inputs = TrainingInputs::load(config, first, &options, &reporter)?;
        let directory = ValueDirectory::new(config, &inputs);
        let identity = inputs.identity(config)?;
        let TrainingInputs { examples, bases, held_out, teacher, value, .. } = inputs;
        let mut run = Run::new(bases, value, examples.train);
        (run.eval, run.held_out, run.teacher) = (examples.eval, held_out, teacher);
        run.workers = workers(others, config, &options)?;
        (run.identity, run.interrupter) = (identity, interrupter);
        (run.resume, run.extend) = (resume, extend);
        let run = train_with_records(run, config, &first.device, &reporter)?;
        if run.interrupted {
            return Err(Error::Interrupted { steps: run.steps, total: run.total_steps });
        }
        let card = directory.write(config, &run)?;
        Ok(TrainedValue { output: config.output.clone(), card, run })
    }
}

/// Finds out before hours of training whether the result can be written.
fn prepare_output(output: &Path, resume: bool) -> Result<()> {
    if !resume && output.join("config.json").exists() {
        return Err(
            ivl_train::Error::OutputExists { path: output.to_owned(), what: "a trained model" }.into()
        );
    }
    std::fs::create_dir_all(output).map_err(Error::io("create", output))?;
    let probe = output.join(".ivl-write-test");
    let written = std::fs::write(&probe, b"ivl").and_then(|()| std::fs::remove_file(&probe));
    written.map_err(Error::io("write into", output))
}

fn check_precision(config: &TrainConfig, placements: &[Placement], device: &str) -> Result<()> {
    let lacks = placements.iter().any(|placement| !placement.device.supports_dtype(DType::BF16));
    if config.steps.precision == Precision::Bf16 && lacks {
        let reason = format!("`steps.precision` is bf16, in which `{device}` does not compute; expected f32");
        return Err(Error::Settings { reason });
    }
    Ok(())
}

/// Runs the steps and writes down what happens. Records that cannot be opened stop the run before its first step.
fn train_with_records(
    run: Run,
    config: &TrainConfig,
    device: &Device,
    reporter: &Reporter<'_>,
) -> Result<Trained> {
    let interrupter = run.interrupter.clone();
    let (mut records, mut failed) = (None, None);
    let trained = ivl_train::train(run, config, |event| {
        if let Event::Start { done, .. } = event {
            match Records::open(config, done, device) {
                Ok(opened) => records = Some(opened),
                Err(error) => {
                    interrupter.stop(Some("the records cannot be written"));
                    failed = Some(error);
                }
            }
        }
        if let Some(records) = &mut records {
            records.write(&event);
        }
        reporter.report(TrainEvent::Run(event));
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(trained?),
    }
}
