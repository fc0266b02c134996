//! `ivl eval`: figures of a base with its values.

use std::io::Write;

use anyhow::{Result, bail};
use ivl::eval::{Outcome, RunSettings, results_table};
use ivl::{EvalEvent, Evaluation};
use serde_json::json;

use crate::args;
use crate::args::Common;
use crate::models;
use crate::notes::note;
use crate::output::stdout;
use crate::progress::bar;

pub fn run(args: &args::Eval, common: &Common) -> Result<()> {
    if args.batch_size == 0 {
        bail!("--batch-size is 0, expected at least 1");
    }
    if args.limit == Some(0) {
        bail!("--limit is 0, expected at least 1");
    }
    // Everything that can be wrong with a task is found before the first weight is read.
    let evaluation = Evaluation::open(&args.tasks, args.output.clone())?;
    let mut builder = models::builder(&args.models, None, common)?;
    if args.apply_chat_template {
        builder = builder.for_chat();
    }
    let model = models::open(builder, &args.models, common)?;
    let settings = RunSettings {
        limit: args.limit,
        num_fewshot: args.num_fewshot,
        batch_size: args.batch_size,
        max_length: args.max_length,
        max_gen_toks: args.max_gen_toks,
        chat_template: args.apply_chat_template.then(|| model.chat_template()).transpose()?,
        seed: common.seed.unwrap_or(0),
    };
    let bar = bar(common, 0, "{msg} {bar:30} {pos}/{len}, {left} left");
    let outcomes = evaluation.run(&model, &settings, &mut |event| match event {
        EvalEvent::Progress { task, done, total } => {
            bar.set_message(task.to_owned());
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
        EvalEvent::Done(outcome) => {
            bar.reset();
            if !common.quiet {
                bar.suspend(|| print_notes(outcome));
            }
        }
        _ => {}
    })?;
    bar.finish_and_clear();
    let made_by = json!({
        "base": args.models.base,
        "values": args.models.value,
        "batch_size": args.batch_size,
        "limit": args.limit,
        "max_length": args.max_length.unwrap_or(model.max_positions()),
        "apply_chat_template": args.apply_chat_template,
        "ivl": env!("CARGO_PKG_VERSION"),
    });
    let results = evaluation.results(&outcomes, made_by)?;
    let mut out = stdout();
    match common.json {
        true => writeln!(out, "{results}")?,
        false => write!(out, "{}", results_table(&outcomes))?,
    }
    Ok(())
}

/// Notes on the figures.
fn print_notes(outcome: &Outcome) {
    let (name, notes, samples) = (&outcome.task, &outcome.notes, outcome.samples);
    if outcome.logged > 0 {
        note(format_args!("{name}: {} of {samples} samples were logged by an earlier run", outcome.logged));
    }
    if notes.cut > 0 {
        note(format_args!(
            "{name}: {} of {samples} prompts are longer than the model reads, and were cut at their beginning",
            notes.cut
        ));
    }
    if notes.without_gold > 0 {
        note(format_args!(
            "{name}: what is right is none of the choices in {} of {samples} rows, so that they count as wrong",
            notes.without_gold
        ));
    }
    if notes.unreadable > 0 {
        note(format_args!(
            "{name}: a value cannot read all of {} of {samples} texts; there the base answers without it",
            notes.unreadable
        ));
    }
}
