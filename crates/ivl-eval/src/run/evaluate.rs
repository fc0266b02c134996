//! A task from its rows to its figures.

use std::collections::BTreeMap;

use ivl_core::CausalLm;
use ivl_models::{ChatTemplate, Tokenizer};
use serde_json::{Map, Value, json};

use super::sample_log::SampleLog;
use crate::error::Error;
use crate::requests::{Encoding, GreedyBatch, Likelihood, LikelihoodRequest, likelihoods};
use crate::score::{Aggregate, SampleAnswer, SampleScore, ScoreValue, aggregate};
use crate::task::{Document, Gold, OutputType, Task, digest};

/// The evaluated model, with its tokenizer and template.
#[derive(Clone, Copy)]
pub struct EvalModel<'a> {
    /// The model.
    pub lm: &'a dyn CausalLm,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that end an answer.
    pub end_tokens: &'a [u32],
    /// Whether all parts of the model can read a text; values of another vocabulary may not.
    pub reads: &'a dyn Fn(&str) -> bool,
}

/// How a task is run.
#[derive(Debug, Clone, Default)]
pub struct RunSettings {
    /// Only the first rows.
    pub limit: Option<usize>,
    /// Examples before each prompt, in place of what the task says.
    pub num_fewshot: Option<usize>,
    /// Sequences in a forward pass; 0 counts as 1.
    pub batch_size: usize,
    /// Most tokens that the model reads; what it can unless set.
    pub max_length: Option<usize>,
    /// Most new tokens of an answer, in place of what the task says.
    pub max_gen_toks: Option<usize>,
    /// Prompts are turns of a chat, rendered by this template.
    pub chat_template: Option<ChatTemplate>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// The result of a task.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub task: String,
    /// Its figures.
    pub figures: Vec<Aggregate>,
    /// Rows of the task.
    pub rows: usize,
    /// Rows that were measured.
    pub samples: usize,
    /// Of them, those whose answers an earlier run had logged.
    pub logged: usize,
    /// Examples before each prompt.
    pub num_fewshot: usize,
    /// Notes on the figures.
    pub notes: Notes,
    /// Answers for the harness of another project: `task_id` and completion, in the order of the rows.
    pub completions: Vec<(String, String)>,
}

/// Rows with problems, counted by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// The context was too long and cut at its beginning.
    pub cut: usize,
    /// The target is not among the choices, so no answer can be right.
    pub without_gold: usize,
    /// A value could not read all of the text; there the base answers without it.
    pub unreadable: usize,
}

/// A row that waits for its answer.
struct Pending {
    document: Document,
    asked: Asked,
}

enum Asked {
    Continuations(Vec<LikelihoodRequest>),
    Prompt(Vec<u32>),
}

impl Asked {
    /// Rows of a batch.
    fn rows(&self) -> usize {
        match self {
            Self::Continuations(continuations) => continuations.len(),
            Self::Prompt(_) => 1,
        }
    }

    /// Length of the longest row.
    fn length(&self) -> usize {
        match self {
            Self::Continuations(continuations) => {
                continuations.iter().map(LikelihoodRequest::positions).max().unwrap_or(0)
            }
            Self::Prompt(prompt) => prompt.len(),
        }
    }
}

/// Runs a task. Rows whose answers are in the log are not asked again; `progress` is told how many rows are done, of all.
///
/// # Errors
/// [`Error`] names the row and what is wrong with it.
pub fn evaluate(
    task: &Task,
    subject: EvalModel<'_>,
    settings: &RunSettings,
    mut log: Option<&mut SampleLog>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Outcome, Error> {
    let run = Run::new(task, subject, settings)?;
    let samples = settings.limit.map_or(task.rows.len(), |limit| limit.min(task.rows.len()));
    let mut notes = Notes::default();
    let mut waiting = Vec::new();
    let mut done: BTreeMap<usize, (Document, SampleAnswer)> = BTreeMap::new();
    for id in 0..samples {
        let document = task.document(id, run.num_fewshot, settings.chat_template.as_ref())?;
        let asked = run.ask(&document, &mut notes)?;
        match log.as_deref().and_then(|log| log.answer(id)) {
            Some(answer) if fits(answer, &asked, task.output_type()) => {
                done.insert(id, (document, answer.clone()));
            }
            _ => waiting.push(Pending { document, asked }),
        }
    }
    let logged = done.len();
    // The longest first: what does not fit in memory shows at once, and neighbours are of similar length.
    waiting.sort_by_key(|pending| std::cmp::Reverse(pending.asked.length()));
    progress(done.len(), samples);
    for batch in batches(&waiting, settings.batch_size.max(1)) {
        for (pending, answer) in batch.iter().zip(run.answer(batch)?) {
            let document = pending.document.clone();
            if let Some(log) = log.as_deref_mut() {
                log.add(document.id, &answer, run.shown(&document, &answer)?)?;
            }
            done.insert(document.id, (document, answer));
        }
        progress(done.len(), samples);
    }
    let scores = done.values().map(|(document, answer)| run.scores(document, answer));
    let scores = scores.collect::<Result<Vec<_>, _>>()?;
    let completions = done.values().map(|(document, answer)| run.completion(document, answer));
    let completions = completions.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    Ok(Outcome {
        task: task.name().to_owned(),
        figures: figures(&scores, settings.seed),
        rows: task.rows.len(),
        samples,
        logged,
        num_fewshot: run.num_fewshot,
        notes,
        completions,
    })
}

/// All of a run that decides its answers, beside the model: what a log is checked by.
pub fn identity(task: &Task, settings: &RunSettings, max_positions: usize) -> Value {
    let mut identity = task.identity();
    let chat = settings.chat_template.as_ref().map(ChatTemplate::identity);
    identity["num_fewshot"] = json!(settings.num_fewshot.unwrap_or(task.file.num_fewshot));
    identity["max_length"] = json!(settings.max_length.unwrap_or(max_positions));
    identity["max_gen_toks"] = json!(settings.max_gen_toks.unwrap_or(task.max_gen_toks()));
    identity["chat_template"] = json!(chat.map(|chat| digest(chat.as_bytes())));
    identity
}

/// Whether a logged answer is one to what is asked now.
fn fits(answer: &SampleAnswer, asked: &Asked, kind: OutputType) -> bool {
    match (answer, asked) {
        (SampleAnswer::Choices(likelihoods), Asked::Continuations(asked)) => {
            kind == OutputType::MultipleChoice && likelihoods.len() == asked.len()
        }
        (SampleAnswer::Text(_), Asked::Continuations(_)) => kind == OutputType::LoglikelihoodRolling,
        (SampleAnswer::Response(_), Asked::Prompt(_)) => true,
        _ => false,
    }
}

/// Rows that share forward passes: as many as fit, and at least one.
fn batches(waiting: &[Pending], batch_size: usize) -> Vec<&[Pending]> {
    let (mut batches, mut start, mut rows) = (Vec::new(), 0, 0);
    for (index, pending) in waiting.iter().enumerate() {
        if index > start && rows + pending.asked.rows() > batch_size {
            batches.push(&waiting[start..index]);
            (start, rows) = (index, 0);
        }
        rows += pending.asked.rows();
    }
    batches.extend((start < waiting.len()).then(|| &waiting[start..]));
    batches
}

struct Run<'a> {
    task: &'a Task,
    subject: EvalModel<'a>,
    settings: &'a RunSettings,
    encoding: Encoding<'a>,
    until: Vec<String>,
    num_fewshot: usize,
    max_gen_toks: usize,
}

impl<'a> Run<'a> {
    fn new(task: &'a Task, subject: EvalModel<'a>, settings: &'a RunSettings) -> Result<Self, Error> {
        let limit = subject.lm.max_positions();
        let max_length = settings.max_length.unwrap_or(limit);
        if max_length == 0 || max_length > limit {
            let expected = format!("1 to the {limit} positions of {}", subject.lm.info().name);
            return Err(Error::Length { name: "max_length", expected, got: max_length });
        }
        let mut until = task.until();
        until.extend(subject.tokenizer.special_token("eos_token").map(str::to_owned));
        Ok(Self {
            task,
            subject,
            settings,
            encoding: Encoding::new(subject.tokenizer, max_length),
            until,
            num_fewshot: settings.num_fewshot.unwrap_or(task.file.num_fewshot),
            max_gen_toks: settings.max_gen_toks.unwrap_or(task.max_gen_toks()),
        })
    }

    fn ask(&self, document: &Document, notes: &mut Notes) -> Result<Asked, Error> {
        let place = &self.task.rows[document.id].place;
        let reads = |text: &str| (self.subject.reads)(text);
        let (asked, cut, readable) = match self.task.output_type() {
            OutputType::MultipleChoice => {
                let fitted = document.continuations.iter();
                let fitted = fitted.map(|text| self.encoding.continuation(&document.context, text, place));
                let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
                let cut = fitted.iter().any(|fitted| fitted.cut);
                let readable =
                    document.continuations.iter().all(|text| reads(&format!("{}{text}", document.context)));
                (
                    Asked::Continuations(fitted.into_iter().map(|fitted| fitted.tokens).collect()),
                    cut,
                    readable,
                )
            }
            OutputType::LoglikelihoodRolling => {
                let text = document.gold.text();
                (Asked::Continuations(self.encoding.windows(text, place)?), false, reads(text))
            }
            OutputType::GenerateUntil => {
                let fitted = self.encoding.prompt(&document.context, self.max_gen_toks, place)?;
                (Asked::Prompt(fitted.tokens), fitted.cut, reads(&document.context))
            }
        };
        notes.cut += usize::from(cut);
        notes.unreadable += usize::from(!readable);
        let nowhere = |right: &usize| *right >= document.choices.len();
        notes.without_gold +=
            usize::from(matches!(&document.gold, Gold::Choices(right) if right.iter().all(nowhere)));
        Ok(asked)
    }

    fn answer(&self, batch: &[Pending]) -> Result<Vec<SampleAnswer>, Error> {
        let mut continuations = Vec::new();
        let mut prompts = Vec::new();
        for pending in batch {
            match &pending.asked {
                Asked::Continuations(of_row) => continuations.extend(of_row),
                Asked::Prompt(prompt) => prompts.push(prompt),
            }
        }
        if !prompts.is_empty() {
            let writing = GreedyBatch {
                tokenizer: self.subject.tokenizer,
                end_tokens: self.subject.end_tokens,
                until: &self.until,
                max_gen_toks: self.max_gen_toks,
            };
            return Ok(writing
                .answers(self.subject.lm, &prompts)?
                .into_iter()
                .map(SampleAnswer::Response)
                .collect());
        }
        let mut scored = Vec::with_capacity(continuations.len());
        for part in continuations.chunks(self.settings.batch_size.max(1)) {
            scored.extend(likelihoods(self.subject.lm, part)?);
        }
        let mut scored = scored.into_iter();
        let answers = batch.iter().map(|pending| {
            let of_row = scored.by_ref().take(pending.asked.rows());
            match self.task.output_type() {
                OutputType::LoglikelihoodRolling => {
                    let nothing = Likelihood { logprobs: Vec::new(), is_greedy: true };
                    SampleAnswer::Text(of_row.fold(nothing, Likelihood::join))
                }
                _ => SampleAnswer::Choices(of_row.collect()),
            }
        });
        Ok(answers.collect())
    }

    fn scores(&self, document: &Document, answer: &SampleAnswer) -> Result<Vec<SampleScore>, Error> {
        let row = &self.task.rows[document.id];
        let counted = self.task.counted(document)?;
        let extractions = &self.task.extractions;
        let scores =
            self.task.metrics.iter().map(|m| m.scores((document, row), answer, extractions, &counted));
        Ok(scores.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn completion(
        &self,
        document: &Document,
        answer: &SampleAnswer,
    ) -> Result<Option<(String, String)>, Error> {
        let (Some(id), SampleAnswer::Response(response)) = (self.task.completion_id(document.id)?, answer)
        else {
            return Ok(None);
        };
        Ok(Some((id, self.extracted(0, document, response)?)))
    }

    fn extracted(&self, index: usize, document: &Document, response: &str) -> Result<String, Error> {
        let what = || format!("the answer to {}", self.task.rows[document.id].place);
        self.task.extractions[index].apply(response).map_err(|source| Error::Pattern { what: what(), source })
    }

    /// Fields of the log besides the answer.
    fn shown(&self, document: &Document, answer: &SampleAnswer) -> Result<Map<String, Value>, Error> {
        let mut shown = Map::new();
        let mut show = |key: &str, value: Value| shown.insert(key.to_owned(), value);
        match answer {
            SampleAnswer::Choices(likelihoods) => {
                show("context", json!(document.context));
                show("choices", json!(document.choices));
                show("loglikelihoods", json!(likelihoods.iter().map(Likelihood::sum).collect::<Vec<_>>()));
            }
            SampleAnswer::Text(likelihood) => {
                show("loglikelihood", json!(likelihood.sum()));
            }
            SampleAnswer::Response(response) => {
                show("context", json!(document.context));
                let mut filtered = Map::new();
                for (index, extraction) in self.task.extractions.iter().enumerate() {
                    filtered
                        .insert(extraction.name.clone(), json!(self.extracted(index, document, response)?));
                }
                show("filtered", Value::Object(filtered));
            }
        }
        show(
            "target",
            match &document.gold {
                Gold::Choices(right) => json!(right),
                Gold::Texts(texts) => json!(texts),
            },
        );
        for SampleScore { metric, filter, value } in self.scores(document, answer)? {
            show(&format!("{metric},{filter}"), json!(value));
        }
        show("doc", Value::Object(self.task.rows[document.id].fields.clone()));
        Ok(shown)
    }
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
