//! A task from its rows to its figures.

use std::collections::BTreeMap;

use super::model::EvalModel;
use super::outcome::{Notes, Outcome};
use super::runner::{Pending, Runner, fits};
use super::sample_log::SampleLog;
use super::settings::RunSettings;
use crate::error::Error;
use crate::score::{Aggregate, SampleAnswer, SampleScore, ScoreValue, aggregate};
use crate::task::{Document, Task};

/// Runs a task. Rows whose answers are in the log are not run again; what the log derives from them is brought up to date.
/// `progress` is called with the number of rows done, and of all.
///
/// # Errors
/// [`Error`] names the row and what is wrong with it.
pub fn evaluate(
    task: &Task,
    model: EvalModel<'_>,
    settings: &RunSettings,
    mut log: Option<&mut SampleLog>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Outcome, Error> {
    let runner = Runner::new(task, model, settings)?;
    let samples = settings.limit.map_or(task.rows.len(), |limit| limit.min(task.rows.len()));
    let mut notes = Notes::default();
    let mut waiting = Vec::new();
    let mut done: BTreeMap<usize, (Document, SampleAnswer)> = BTreeMap::new();
    for id in 0..samples {
        let document = runner.document(id)?;
        let request = runner.request(&document, &mut notes)?;
        match log.as_deref().and_then(|log| log.answer(id)) {
            Some(answer) if fits(answer, &request, task.output_type()) => {
                done.insert(id, (document, answer.clone()));
            }
            _ => waiting.push(Pending { document, request }),
        }
    }
    let logged = done.len();
    if let Some(log) = log.as_deref_mut().filter(|log| !log.is_empty()) {
        log.refresh(|id, answer| match id < task.rows.len() {
            true => Ok(Some(runner.shown(&runner.document(id)?, answer)?)),
            false => Ok(None),
        })?;
    }
    // The longest first: what does not fit in memory shows at once, and neighbours are of similar length.
    waiting.sort_by_key(|pending| std::cmp::Reverse(pending.request.length()));
    progress(done.len(), samples);
    for batch in batches(&waiting, settings.batch_size.max(1)) {
        for (pending, answer) in batch.iter().zip(runner.answer(batch)?) {
            let document = pending.document.clone();
            if let Some(log) = log.as_deref_mut() {
                log.add(document.id, &answer, runner.shown(&document, &answer)?)?;
            }
            done.insert(document.id, (document, answer));
        }
        progress(done.len(), samples);
    }
    let (mut scores, mut completions) = (Vec::with_capacity(done.len()), Vec::new());
    for (document, answer) in done.values() {
        scores.push(runner.scores(document, answer)?);
        completions.extend(runner.completion(document, answer)?);
    }
    Ok(Outcome {
        task: task.name().to_owned(),
        figures: figures(&scores, settings.seed),
        rows: task.rows.len(),
        samples,
        logged,
        num_fewshot: runner.num_fewshot,
        notes,
        completions,
    })
}

/// Rows that share forward passes: as many as fit, and at least one.
fn batches(waiting: &[Pending], batch_size: usize) -> Vec<&[Pending]> {
    let (mut batches, mut start, mut rows) = (Vec::new(), 0, 0);
    for (index, pending) in waiting.iter().enumerate() {
        if index > start && rows + pending.request.rows() > batch_size {
            batches.push(&waiting[start..index]);
            (start, rows) = (index, 0);
        }
        rows += pending.request.rows();
    }
    batches.extend((start < waiting.len()).then(|| &waiting[start..]));
    batches
}

/// One figure for each metric and filter, in the order in which the task names them.
fn figures(scores: &[Vec<SampleScore>], seed: u64) -> Vec<Aggregate> {
    let mut figures: Vec<(&'static str, &str, Vec<&ScoreValue>)> = Vec::new();
    for score in scores.iter().flatten() {
        match figures
            .iter_mut()
            .find(|(metric, filter, _)| *metric == score.metric && *filter == score.filter)
        {
            Some((_, _, values)) => values.push(&score.value),
            None => figures.push((score.metric, &score.filter, vec![&score.value])),
        }
    }
    figures.into_iter().map(|(metric, filter, values)| aggregate(metric, filter, &values, seed)).collect()
}
