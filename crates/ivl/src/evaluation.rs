//! Evaluation tasks on a model.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ivl_eval::{EvalModel, Outcome, RunSettings, SampleLog, Task, evaluate, identity, results_json};
use ivl_models::write_bytes;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::Model;

/// An event of an evaluation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum EvalEvent<'a> {
    /// Samples of a task that are done so far.
    Progress {
        /// The task's name.
        task: &'a str,
        /// Samples done.
        done: usize,
        /// Samples in all.
        total: usize,
    },
    /// A task is done.
    Done(&'a Outcome),
}

/// Tasks that are opened, each under a name of its own, and where their samples are logged.
pub struct Evaluation {
    tasks: Vec<Task>,
    output: Option<PathBuf>,
}

impl Evaluation {
    /// Opens task files. With an output directory every sample is logged there, and an interrupted run continues.
    ///
    /// # Errors
    /// Everything that is wrong with a task, two tasks of one name, and a task for another harness without an output
    /// directory.
    pub fn open(tasks: &[PathBuf], output: Option<PathBuf>) -> Result<Self> {
        let tasks = tasks.iter().map(|path| Task::open(path)).collect::<Result<Vec<_>, _>>()?;
        for (index, task) in tasks.iter().enumerate() {
            if let Some(other) = tasks[..index].iter().find(|other| other.name() == task.name()) {
                let reason = format!(
                    "`{}` and `{}` are both called `{}`; expected one name for each `task`",
                    other.path.display(),
                    task.path.display(),
                    task.name()
                );
                return Err(Error::Settings { reason });
            }
            if task.has_completions() && output.is_none() {
                return Err(Error::NeedsOutput { path: task.path.clone() });
            }
        }
        Ok(Self { tasks, output })
    }

    /// Runs the tasks one after the other.
    ///
    /// # Errors
    /// [`Error::Task`].
    pub fn run(
        &self,
        model: &Model,
        settings: &RunSettings,
        on_event: &mut dyn FnMut(EvalEvent<'_>),
    ) -> Result<Vec<Outcome>> {
        let identity = match &self.output {
            Some(output) => {
                std::fs::create_dir_all(output).map_err(Error::io("create", output))?;
                Some((output.as_path(), model.identity()?))
            }
            None => None,
        };
        let subject = EvalModel {
            lm: model.lm(),
            tokenizer: model.tokenizer(),
            end_tokens: model.end_tokens(),
            reads: &|text| model.check_readable(text).is_ok(),
        };
        let mut outcomes = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let mut log = match &identity {
                Some((output, models)) => Some(open_log(output, task, settings, models, model)?),
                None => None,
            };
            let outcome = evaluate(task, subject, settings, log.as_mut(), &mut |done, total| {
                on_event(EvalEvent::Progress { task: task.name(), done, total });
            });
            let outcome = outcome
                .map_err(|source| Error::Task { path: task.path.clone(), source: Box::new(source.into()) })?;
            if let Some((output, _)) = &identity {
                write_completions(output, &outcome)?;
            }
            on_event(EvalEvent::Done(&outcome));
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The results as JSON with a record of how they were made, written to the output directory if there is one.
    ///
    /// # Errors
    /// [`Error::Models`] if they cannot be written.
    pub fn results(&self, outcomes: &[Outcome], made_by: Value) -> Result<Value> {
        let mut results = results_json(outcomes);
        results["config"] = made_by;
        if let Some(output) = &self.output {
            write_bytes(&output.join("results.json"), format!("{results:#}\n").as_bytes())?;
        }
        Ok(results)
    }
}

/// The log of a task's samples, which is refused if another run wrote it.
fn open_log(
    output: &Path,
    task: &Task,
    settings: &RunSettings,
    models: &Value,
    model: &Model,
) -> Result<SampleLog> {
    let mut identity = identity(task, settings, model.max_positions());
    identity["models"] = models.clone();
    Ok(SampleLog::open(&output.join(format!("samples_{}.jsonl", task.name())), &identity)?)
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
