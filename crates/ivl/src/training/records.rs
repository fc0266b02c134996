//! The records of a run in progress: its configuration, `metrics.jsonl`, and TensorBoard event files.

use burn::tensor::Device;
use ivl_models::write_bytes;
use ivl_train::{EvalReport, Event, EventFile, StepReport, TrainConfig};
use serde_json::json;

use super::metrics_file::MetricsFile;
use crate::error::{Error, Result};
use crate::memory::Memory;

/// Name of the resolved configuration in the output directory.
const RESOLVED: &str = "train.toml";

/// The configuration with every default filled in: running it again gives the same losses.
fn resolved(config: &TrainConfig) -> String {
    toml::to_string_pretty(config).expect("a configuration is a TOML table")
}

/// Whether the output directory of a configuration was made by this very configuration.
pub fn is_result_of(config: &TrainConfig) -> bool {
    let saved = std::fs::read_to_string(config.output.join(RESOLVED));
    saved.is_ok_and(|saved| resolved(config) == saved)
}

/// The open records of a run.
pub(super) struct Records {
    metrics: MetricsFile,
    tensorboard: EventFile,
    /// Where the value is trained.
    device: Device,
}

impl Records {
    /// Opens the records of a run that continues after `done` steps, and saves the configuration with them.
    pub(super) fn open(config: &TrainConfig, done: usize, device: &Device) -> Result<Self> {
        let output = &config.output;
        write_bytes(&output.join(RESOLVED), resolved(config).as_bytes())?;
        let metrics =
            MetricsFile::open(output, done).map_err(Error::io("write", output.join("metrics.jsonl")))?;
        let tensorboard = EventFile::create(&output.join("tensorboard"), done)?;
        Ok(Self { metrics, tensorboard, device: device.clone() })
    }

    /// Writes an event down.
    pub(super) fn write(&mut self, event: &Event) {
        match event {
            Event::Start { .. } | Event::CorruptCheckpoint { .. } => {}
            Event::Step(step) => {
                let memory = Memory::now(&self.device);
                let mut line = json!(step);
                line["memory"] = memory.json();
                self.metrics.write("step", line);
                self.tensorboard.scalars(step.step, &step_scalars(step, memory));
            }
            Event::Eval(eval) => {
                self.metrics.write("eval", json!(eval));
                self.tensorboard.scalars(eval.step, &eval_scalars(eval));
            }
            Event::Checkpoint { step } => self.metrics.write("checkpoint", json!({ "step": step })),
            Event::StoppedEarly { step, best } => {
                self.metrics.write("stopped_early", json!({ "step": step, "best": best }));
            }
        }
    }
}

fn step_scalars(step: &StepReport, memory: Memory) -> Vec<(String, f64)> {
    let scalars = [
        ("loss", step.loss),
        ("value_norm", step.value_norm),
        ("kl", step.kl),
        ("gradient_norm", step.gradient_norm),
        ("learning_rate", step.learning_rate),
        ("tokens_per_second", step.tokens_per_second),
    ];
    let memory = [("resident_mib", memory.resident), ("device_mib", memory.device)];
    let pairs = [("accuracy", step.accuracy), ("margin", step.margin)];
    let pairs = pairs.into_iter().filter_map(|(name, x)| Some((format!("train/{name}"), x?)));
    let memory = memory.into_iter().filter_map(|(name, mib)| Some((format!("memory/{name}"), mib?)));
    scalars.into_iter().map(|(name, x)| (format!("train/{name}"), x)).chain(pairs).chain(memory).collect()
}

fn eval_scalars(eval: &EvalReport) -> Vec<(String, f64)> {
    let base = eval.base.as_deref().unwrap_or("model");
    let mut scalars = vec![(format!("eval/{base}/loss"), eval.loss)];
    scalars.extend(eval.base_loss.map(|loss| (format!("eval/{base}/base_loss"), loss)));
    for (name, figure) in [("kl", eval.kl), ("accuracy", eval.accuracy), ("margin", eval.margin)] {
        scalars.extend(figure.map(|figure| (format!("eval/{base}/{name}"), figure)));
    }
    scalars
}
