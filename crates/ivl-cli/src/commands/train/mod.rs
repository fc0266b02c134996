//! `ivl train`: from a TOML to a value directory.

mod bases;
mod configuration;
mod metrics_file;
mod models;
mod parts;
mod reporting;
mod saving;
mod stopping;
mod workers;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::DType;
use ivl_train::{Interrupter, Precision, Run, TrainConfig, Trained, train};
use serde_json::json;

pub use self::configuration::{is_result_of, read_config};
pub use self::models::OpenModels;
use self::parts::{Parts, value_name};
use self::reporting::{Reporter, eval_line};
use self::saving::{Saver, card};
use self::stopping::Stoppable;
use self::workers::workers;
use crate::args::{Common, Train};
use crate::device::devices;
use crate::memory::Memory;

pub fn run(args: &Train, common: &Common) -> Result<()> {
    let config = read_config(args, common)?;
    let trained = fit(&config, args.resume, "go on with --resume", common).map_err(with_hint)?;
    summarize(&config, &trained, Memory::now(&devices(common)?[0]), common);
    Ok(())
}

/// Adds the option that helps.
fn with_hint(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ivl_train::Error>() {
        Some(ivl_train::Error::OutputExists { .. }) => anyhow!("{error}; --resume continues that run"),
        Some(ivl_train::Error::NoCheckpoint { .. }) => anyhow!("{error}; start without --resume"),
        _ => error,
    }
}

/// Trains and saves. Ctrl-C stops after a step and leaves a checkpoint; `go_on` says how to go on from there.
pub fn fit(config: &TrainConfig, resume: bool, go_on: &str, common: &Common) -> Result<Trained> {
    prepare_output(&config.output, resume)?;
    let devices = devices(common)?;
    let lacks = devices.iter().any(|device| !device.supports_dtype(DType::BF16));
    if config.steps.precision == Precision::Bf16 && lacks {
        bail!("`steps.precision` is bf16, in which `{}` does not compute; expected f32", common.device);
    }
    let (first, others) = devices.split_first().context("no device")?;
    let parts = Parts::load(config, first, common)?;
    let (interrupter, fingerprint) = (Interrupter::new(), parts.fingerprint(config)?);
    let reporter = Reporter::new(config, first, common);
    let _stoppable = Stoppable::on_ctrl_c(&interrupter, reporter.voice())?;
    let rows = parts.rows;
    let (data, card_parts) = (parts.data_fingerprint.clone(), parts.card.clone());
    let lora = config.value.lora.clone().zip(value_name(config).map(str::to_owned));
    let saver = Saver { json: parts.json, source: parts.source, template: parts.template, lora };
    let mut run = Run::new(parts.bases, parts.value, parts.train);
    (run.eval, run.held_out) = (parts.eval, parts.held_out);
    run.workers = workers(others, config, common)?;
    (run.fingerprint, run.resume, run.interrupter) = (fingerprint, resume, interrupter);
    let trained = train_and_report(run, config, reporter)?;
    if trained.interrupted {
        bail!(
            "stopped after step {} of {}; the checkpoint is written, {go_on}",
            trained.steps,
            trained.total_steps
        );
    }
    let card = card_parts.map(|parts| card(config, &trained, parts, data, rows));
    saver.save(&trained.value, card.as_ref(), &config.output)?;
    Ok(trained)
}

/// Finds out before hours of training whether the result can be written.
fn prepare_output(output: &Path, resume: bool) -> Result<()> {
    if !resume && output.join("config.json").exists() {
        bail!(ivl_train::Error::OutputExists { path: output.to_owned(), what: "a trained model" });
    }
    std::fs::create_dir_all(output).with_context(|| format!("cannot create `{}`", output.display()))?;
    let probe = output.join(".ivl-write-test");
    let written = std::fs::write(&probe, b"ivl").and_then(|()| std::fs::remove_file(&probe));
    written.with_context(|| format!("cannot write into `{}`", output.display()))
}

/// Runs the steps. A record that cannot be opened stops the run before its first step.
fn train_and_report(run: Run, config: &TrainConfig, mut reporter: Reporter) -> Result<Trained> {
    let interrupter = run.interrupter.clone();
    let failed = Rc::new(RefCell::new(None));
    let failure = failed.clone();
    let trained = train(run, config, move |event| {
        if let Err(error) = reporter.report(&event) {
            interrupter.stop(Some("the records cannot be written"));
            failure.borrow_mut().get_or_insert(error);
        }
    });
    match failed.take() {
        Some(error) => Err(error),
        None => Ok(trained?),
    }
}

fn summarize(config: &TrainConfig, trained: &Trained, memory: Memory, common: &Common) {
    if common.json {
        let report = json!({
            "output": config.output,
            "steps": trained.steps,
            "value_steps": trained.value_steps,
            "tokens": trained.tokens,
            "train": trained.last,
            "evals": trained.evals,
            "memory": memory.json(),
        });
        println!("{report}");
        return;
    }
    let which = match trained.value_steps < trained.steps {
        true => format!("the value of step {}, the best, ", trained.value_steps),
        false => String::new(),
    };
    println!("wrote {which}to {} after {} steps", config.output.display(), trained.steps);
    for eval in &trained.evals {
        println!("{}", eval_line(eval));
    }
}
