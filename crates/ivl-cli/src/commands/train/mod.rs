//! `ivl train`: from a TOML to a value directory.

mod configuration;
mod display;
mod signals;

use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow};
use ivl::train::Interrupter;
use ivl::{Error, Memory, Placement, TrainedValue, Training};
use serde_json::json;

pub use self::configuration::{read_config, with_sets};
use self::display::eval_line;
pub use self::display::{Display, Voice, lost_rows};
pub use self::signals::Stoppable;
use crate::args::{Common, Train};
use crate::models::{dtype, open_options};
use crate::notes::note;
use crate::output::stdout;

pub fn run(args: &Train, common: &Common) -> Result<()> {
    let config = read_config(&args.config, &args.set, common)?;
    let training = Training::new(&config).resume(args.resume).extend(args.extend);
    fit_and_summarize(training, common)
}

/// Trains, saves, and prints what came out.
pub fn fit_and_summarize(training: Training<'_>, common: &Common) -> Result<()> {
    let trained = fit(training, "go on with --resume", common)?;
    let placements = Placement::several(&common.device, dtype(common.dtype))?;
    warn_of_harm(&trained);
    summarize(&trained, Memory::now(&placements[0].device), common)
}

/// Trains and saves. A signal stops after a step and leaves a checkpoint; `go_on` says how to go on from there.
pub fn fit(training: Training<'_>, go_on: &str, common: &Common) -> Result<TrainedValue> {
    let (interrupter, mut display) = (Interrupter::new(), Display::new(common));
    let _stoppable = Stoppable::on_signals(&interrupter, display.voice())?;
    let trained = training
        .options(open_options(common))
        .interrupter(interrupter)
        .run(move |event| display.show(&event));
    let trained = trained.map_err(|error| say_how_to_go_on(error, go_on))?;
    if trained.is_dead() && !common.quiet {
        note(
            "note: the value adds nothing: all its logits are 0. Train longer, with a higher learning rate or a smaller \
             regularization.l1",
        );
    }
    Ok(trained)
}

/// Tells how to continue an interrupted run.
pub fn say_how_to_go_on(error: Error, go_on: &str) -> anyhow::Error {
    match error {
        Error::Interrupted { .. } => anyhow!("{error}, {go_on}"),
        other => other.into(),
    }
}

/// Names the bases that the value does not help, and what to try.
fn warn_of_harm(trained: &TrainedValue) {
    for eval in trained.not_improved() {
        let (base, alone) = (eval.base.as_deref().unwrap_or("the base"), eval.base_loss.unwrap_or_default());
        note(format_args!(
            "warning: the value does not help `{base}`: held-out loss {:.4} with it, {alone:.4} without it; try a larger \
             `optimizer.learning_rate`, more `steps.epochs` or more demonstrations",
            eval.loss
        ));
    }
}

fn summarize(trained: &TrainedValue, memory: Memory, common: &Common) -> Result<()> {
    let mut out = stdout();
    let (output, run): (&Path, _) = (&trained.output, &trained.run);
    if common.json {
        let report = json!({
            "output": output,
            "steps": run.steps,
            "value_steps": run.value_steps,
            "tokens": run.tokens,
            "train": run.last,
            "evals": run.evals,
            "not_improved": trained.not_improved().map(|eval| &eval.base).collect::<Vec<_>>(),
            "memory": memory.json(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    let which = match run.value_steps < run.steps {
        true => format!("the value of step {}, the best, ", run.value_steps),
        false => String::new(),
    };
    writeln!(out, "wrote {which}to {} after {} steps", output.display(), run.steps)?;
    for eval in &run.evals {
        writeln!(out, "{}", eval_line(eval))?;
    }
    Ok(())
}
