//! `ivl eval`: figures of a base with its values.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl_eval::{
    Outcome, RunSettings, SampleLog, Subject, Task, evaluate, identity, results_json, results_table,
};
use ivl_models::write_bytes;
use serde_json::{Value, json};

use crate::args;
use crate::args::Common;
use crate::compose::Composed;
use crate::model_identity::model_identity;
use crate::progress::bar;

pub fn run(args: &args::Eval, common: &Common) -> Result<()> {
    if args.batch_size == 0 {
        bail!("--batch-size is 0, expected at least 1");
    }
    if args.limit == Some(0) {
        bail!("--limit is 0, expected at least 1");
    }
    // Everything that can be wrong with a task is found before the first weight is read.
    let tasks = open(args)?;
    let composed = Composed::load(&args.models, common)?;
    let settings = RunSettings {
        limit: args.limit,
        num_fewshot: args.num_fewshot,
        batch_size: args.batch_size,
        max_length: args.max_length,
        max_gen_toks: args.max_gen_toks,
        chat_template: args.apply_chat_template.then(|| composed.chat_template()).transpose()?,
        seed: common.seed.unwrap_or(0),
    };
    let models = match &args.output {
        Some(output) => {
            std::fs::create_dir_all(output)
                .with_context(|| format!("cannot create `{}`", output.display()))?;
            Some((output, model_identity(&args.models, common)?))
        }
        None => None,
    };
    let mut outcomes = Vec::new();
    for task in &tasks {
        let mut log = match &models {
            Some((output, models)) => Some(log(output, task, &settings, models, &composed)?),
            None => None,
        };
        let outcome = one(task, &composed, &settings, log.as_mut(), common)?;
        if !common.quiet {
            notes(task, &outcome);
        }
        if let Some((output, _)) = &models {
            write_completions(output, &outcome)?;
        }
        outcomes.push(outcome);
    }
    let mut results = results_json(&outcomes);
    results["config"] = json!({
        "base": args.models.base,
        "values": args.models.value,
        "batch_size": args.batch_size,
        "limit": args.limit,
        "max_length": args.max_length.unwrap_or(composed.lm.max_positions()),
        "apply_chat_template": args.apply_chat_template,
        "ivl": env!("CARGO_PKG_VERSION"),
    });
    if let Some((output, _)) = &models {
        write_bytes(&output.join("results.json"), format!("{results:#}\n").as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    match common.json {
        true => writeln!(out, "{results}")?,
        false => write!(out, "{}", results_table(&outcomes))?,
    }
    Ok(())
}

/// The tasks, each under a name of its own.
fn open(args: &args::Eval) -> Result<Vec<Task>> {
    let tasks = args.tasks.iter().map(|path| Task::open(path)).collect::<Result<Vec<_>, _>>()?;
    for (index, task) in tasks.iter().enumerate() {
        if let Some(other) = tasks[..index].iter().find(|other| other.name() == task.name()) {
            bail!(
                "`{}` and `{}` are both called `{}`; expected one name for each `task`",
                other.path.display(),
                task.path.display(),
                task.name()
            );
        }
        if task.file.completions.is_some() && args.output.is_none() {
            bail!(
                "`{}` writes answers for another harness; say where with --output DIR",
                task.path.display()
            );
        }
    }
    Ok(tasks)
}

fn one(
    task: &Task,
    composed: &Composed,
    settings: &RunSettings,
    log: Option<&mut SampleLog>,
    common: &Common,
) -> Result<Outcome> {
    let bar = bar(common, 0, "{msg} {bar:30} {pos}/{len}, {eta} left");
    bar.set_message(task.name().to_owned());
    let subject = Subject {
        lm: &*composed.lm,
        tokenizer: &composed.tokenizer,
        end_tokens: &composed.end_tokens,
        reads: &|text| composed.check(text).is_ok(),
    };
    let outcome = evaluate(task, subject, settings, log, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    outcome.with_context(|| format!("cannot run the task `{}`", task.path.display()))
}

/// The log of a task's samples, which is refused if another run wrote it.
fn log(
    output: &Path,
    task: &Task,
    settings: &RunSettings,
    models: &Value,
    composed: &Composed,
) -> Result<SampleLog> {
    let mut identity = identity(task, settings, composed.lm.max_positions());
    identity["models"] = models.clone();
    Ok(SampleLog::open(&output.join(format!("samples_{}.jsonl", task.name())), &identity)?)
}

/// What the reader of the figures should know.
fn notes(task: &Task, outcome: &Outcome) {
    let (name, notes, samples) = (task.name(), &outcome.notes, outcome.samples);
    if outcome.logged > 0 {
        eprintln!("{name}: {} of {samples} samples were logged by an earlier run", outcome.logged);
    }
    if notes.cut > 0 {
        eprintln!(
            "{name}: {} of {samples} prompts are longer than the model reads, and were cut at their beginning",
            notes.cut
        );
    }
    if notes.without_gold > 0 {
        eprintln!(
            "{name}: what is right is none of the choices in {} of {samples} rows, so that they count as wrong",
            notes.without_gold
        );
    }
    if notes.unreadable > 0 {
        eprintln!(
            "{name}: a value cannot read all of {} of {samples} texts; where it cannot, the base stands alone",
            notes.unreadable
        );
    }
}

/// Answers as JSON lines of `task_id` and `completion`: what the harnesses of HumanEval and MBPP read.
fn write_completions(output: &Path, outcome: &Outcome) -> Result<()> {
    if outcome.completions.is_empty() {
        return Ok(());
    }
    let mut lines = String::new();
    for (id, completion) in &outcome.completions {
        let _ = writeln!(lines, "{}", json!({ "task_id": id, "completion": completion }));
    }
    write_bytes(&output.join(format!("completions_{}.jsonl", outcome.task)), lines.as_bytes())?;
    Ok(())
}
