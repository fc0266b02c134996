//! What a run says: a display on the terminal or plain lines, `metrics.jsonl`, and TensorBoard event files.

use anyhow::{Context, Result};
use burn::tensor::Device;
use indicatif::ProgressBar;
use ivl_train::{EvalReport, Event, EventFile, StepReport, TrainConfig};
use serde_json::json;

use super::configuration::save_resolved;
use super::metrics_file::MetricsFile;
use crate::args::Common;
use crate::memory::Memory;
use crate::progress::bar;

/// Plain lines of a run, if nobody watches.
const LINES: usize = 20;

/// What the display shows. Rates and remaining time are of this process.
const DISPLAY: &str = "{bar:20} {pos}/{len} steps  {eta} left  {wide_msg}";

/// Shows events and records them.
pub struct Reporter {
    config: TrainConfig,
    bar: ProgressBar,
    /// Whether plain lines stand for the bar.
    lines: bool,
    /// Steps between two plain lines.
    every: usize,
    files: Option<Files>,
    /// Where the value is trained.
    device: Device,
}

/// Says lines above the bar, or plain ones; none if the run is to be quiet.
pub struct Voice {
    bar: ProgressBar,
    lines: bool,
}

impl Voice {
    /// Says a line.
    pub fn say(&self, line: &str) {
        if self.lines { eprintln!("{line}") } else { self.bar.println(line) }
    }
}

/// The records of a run.
struct Files {
    metrics: MetricsFile,
    tensorboard: EventFile,
}

impl Files {
    /// Opens the records of a run that goes on after `done` steps, and saves the configuration beside them.
    fn open(config: &TrainConfig, done: usize) -> Result<Self> {
        let cannot = |what: &str| format!("cannot write {what} in `{}`", config.output.display());
        save_resolved(config, &config.output)?;
        let metrics = MetricsFile::open(&config.output, done).with_context(|| cannot("metrics.jsonl"))?;
        let tensorboard = EventFile::create(&config.output.join("tensorboard"), done)
            .with_context(|| cannot("tensorboard/"))?;
        Ok(Self { metrics, tensorboard })
    }
}

impl Reporter {
    /// A reporter that has not begun.
    pub fn new(config: &TrainConfig, device: &Device, common: &Common) -> Self {
        let bar = bar(common, 0, DISPLAY);
        let lines = bar.is_hidden() && !common.quiet;
        Self { config: config.clone(), bar, lines, every: 1, files: None, device: device.clone() }
    }

    /// Shows and records an event.
    ///
    /// # Errors
    /// If the records cannot be opened at the start.
    pub fn report(&mut self, event: &Event) -> Result<()> {
        self.record(event)?;
        match event {
            Event::Start { done, total } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                self.bar.reset_eta();
                self.every = total.div_ceil(LINES).max(1);
            }
            Event::Step(step) => {
                self.bar.set_position(step.step as u64);
                self.bar.set_message(step_message(step));
                if self.lines && step.step % self.every == 0 {
                    eprintln!("step {:>6}  {}", step.step, step_message(step));
                }
            }
            Event::Eval(eval) => self.say(&eval_line(eval)),
            Event::CorruptCheckpoint { path, reason } => {
                self.say(&format!("skipped the corrupt checkpoint `{}`: {reason}", path.display()));
            }
            Event::StoppedEarly { step, best } => {
                let best = best.as_ref().map_or(String::new(), |best| {
                    format!("; it was lowest, {:.4}, after step {}", best.loss, best.step)
                });
                self.say(&format!("stopped after step {step}: the held-out loss no longer falls{best}"));
            }
            Event::Checkpoint { .. } => {}
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        self.voice().say(line);
    }

    /// What says a line without getting in the way of the display, from any thread.
    pub fn voice(&self) -> Voice {
        Voice { bar: self.bar.clone(), lines: self.lines }
    }

    fn record(&mut self, event: &Event) -> Result<()> {
        if let Event::Start { done, .. } = event {
            self.files = Some(Files::open(&self.config, *done)?);
        }
        let Some(Files { metrics, tensorboard }) = &mut self.files else { return Ok(()) };
        match event {
            Event::Start { .. } | Event::CorruptCheckpoint { .. } => {}
            Event::Step(step) => {
                let memory = Memory::now(&self.device);
                let mut line = json!(step);
                line["memory"] = memory.json();
                metrics.write("step", line);
                tensorboard.scalars(step.step, &step_scalars(step, memory));
            }
            Event::Eval(eval) => {
                metrics.write("eval", json!(eval));
                tensorboard.scalars(eval.step, &eval_scalars(eval));
            }
            Event::Checkpoint { step } => metrics.write("checkpoint", json!({ "step": step })),
            Event::StoppedEarly { step, best } => {
                metrics.write("stopped_early", json!({ "step": step, "best": best }));
            }
        }
        Ok(())
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
    let memory = memory.into_iter().filter_map(|(name, mib)| Some((format!("memory/{name}"), mib?)));
    scalars.into_iter().map(|(name, x)| (format!("train/{name}"), x)).chain(memory).collect()
}

fn eval_scalars(eval: &EvalReport) -> Vec<(String, f64)> {
    let base = eval.base.as_deref().unwrap_or("model");
    let alone = eval.base_loss.map(|loss| (format!("eval/{base}/base_loss"), loss));
    let kl = eval.kl.map(|kl| (format!("eval/{base}/kl"), kl));
    std::iter::once((format!("eval/{base}/loss"), eval.loss)).chain(alone).chain(kl).collect()
}

/// The first words matter most: a narrow terminal cuts the last.
fn step_message(step: &StepReport) -> String {
    format!(
        "loss {:.4}  lr {:.2e}  {:.0} tokens/s  |v| {:.4}  gradient {:.3}",
        step.loss, step.learning_rate, step.tokens_per_second, step.value_norm, step.gradient_norm
    )
}

/// A held-out loss, in words.
pub fn eval_line(eval: &EvalReport) -> String {
    let base = eval.base.as_deref().unwrap_or("the model");
    let losses = match eval.base_loss {
        Some(alone) => format!("alone {alone:.4}, with the value {:.4}", eval.loss),
        None => format!("{:.4}", eval.loss),
    };
    format!("step {:>6}  held out: {base} {losses}", eval.step)
}
