//! One row of a task after another: what the model has to compute, its answer, and the scores.

use serde_json::{Map, Value, json};

use super::model::EvalModel;
use super::outcome::Notes;
use super::settings::RunSettings;
use crate::error::Error;
use crate::requests::{Encoding, GreedyBatch, Likelihood, LikelihoodRequest, likelihoods};
use crate::score::{SampleAnswer, SampleScore};
use crate::task::{Document, Gold, OutputType, Task};

/// A row that waits for its answer.
pub(super) struct Pending {
    pub(super) document: Document,
    pub(super) request: Request,
}

/// The requests to a model for a row.
pub(super) enum Request {
    Continuations(Vec<LikelihoodRequest>),
    Prompt(Vec<u32>),
}

impl Request {
    /// Rows of a batch.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Continuations(continuations) => continuations.len(),
            Self::Prompt(_) => 1,
        }
    }

    /// Length of the longest row.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Continuations(continuations) => {
                continuations.iter().map(LikelihoodRequest::positions).max().unwrap_or(0)
            }
            Self::Prompt(prompt) => prompt.len(),
        }
    }
}

/// Whether a logged answer is of the kind that is requested now.
pub(super) fn fits(answer: &SampleAnswer, request: &Request, kind: OutputType) -> bool {
    match (answer, request) {
        (SampleAnswer::Choices(likelihoods), Request::Continuations(requests)) => {
            kind == OutputType::MultipleChoice && likelihoods.len() == requests.len()
        }
        (SampleAnswer::Text(_), Request::Continuations(_)) => kind == OutputType::LoglikelihoodRolling,
        (SampleAnswer::Response(_), Request::Prompt(_)) => true,
        _ => false,
    }
}

/// A task on a model.
pub(super) struct Runner<'a> {
    task: &'a Task,
    model: EvalModel<'a>,
    settings: &'a RunSettings,
    encoding: Encoding<'a>,
    until: Vec<String>,
    pub(super) num_fewshot: usize,
    max_gen_toks: usize,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        task: &'a Task,
        model: EvalModel<'a>,
        settings: &'a RunSettings,
    ) -> Result<Self, Error> {
        let limit = model.lm.max_positions();
        let max_length = settings.max_length.unwrap_or(limit);
        if max_length == 0 || max_length > limit {
            let expected = format!("1 to the {limit} positions of {}", model.lm.info().name);
            return Err(Error::Length { name: "max_length", expected, got: max_length });
        }
        let mut until = task.until();
        until.extend(model.tokenizer.special_token("eos_token").map(str::to_owned));
        Ok(Self {
            task,
            model,
            settings,
            encoding: Encoding::new(model.tokenizer, max_length),
            until,
            num_fewshot: settings.num_fewshot.unwrap_or(task.file.num_fewshot),
            max_gen_toks: settings.max_gen_toks.unwrap_or(task.max_gen_toks()),
        })
    }

    /// A row as the model sees it.
    pub(super) fn document(&self, id: usize) -> Result<Document, Error> {
        self.task.document(id, self.num_fewshot, self.settings.chat_template.as_ref())
    }

    /// The requests to the model for a row; notes its problems.
    pub(super) fn request(&self, document: &Document, notes: &mut Notes) -> Result<Request, Error> {
        let place = &self.task.rows[document.id].place;
        let reads = |text: &str| (self.model.reads)(text);
        let (request, cut, readable) = match self.task.output_type() {
            OutputType::MultipleChoice => {
                let fitted = document.continuations.iter();
                let fitted = fitted.map(|text| self.encoding.continuation(&document.context, text, place));
                let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
                let cut = fitted.iter().any(|fitted| fitted.cut);
                let readable =
                    document.continuations.iter().all(|text| reads(&format!("{}{text}", document.context)));
                (
                    Request::Continuations(fitted.into_iter().map(|fitted| fitted.tokens).collect()),
                    cut,
                    readable,
                )
            }
            OutputType::LoglikelihoodRolling => {
                let text = document.gold.text();
                (Request::Continuations(self.encoding.windows(text, place)?), false, reads(text))
            }
            OutputType::GenerateUntil => {
                let fitted = self.encoding.prompt(&document.context, self.max_gen_toks, place)?;
                (Request::Prompt(fitted.tokens), fitted.cut, reads(&document.context))
            }
        };
        notes.cut += usize::from(cut);
        notes.unreadable += usize::from(!readable);
        let nowhere = |right: &usize| *right >= document.choices.len();
        notes.without_gold +=
            usize::from(matches!(&document.gold, Gold::Choices(right) if right.iter().all(nowhere)));
        Ok(request)
    }

    pub(super) fn answer(&self, batch: &[Pending]) -> Result<Vec<SampleAnswer>, Error> {
        let mut continuations = Vec::new();
        let mut prompts = Vec::new();
        for pending in batch {
            match &pending.request {
                Request::Continuations(of_row) => continuations.extend(of_row),
                Request::Prompt(prompt) => prompts.push(prompt),
            }
        }
        if !prompts.is_empty() {
            let writing = GreedyBatch {
                tokenizer: self.model.tokenizer,
                end_tokens: self.model.end_tokens,
                until: &self.until,
                max_gen_toks: self.max_gen_toks,
            };
            return Ok(writing
                .answers(self.model.lm, &prompts)?
                .into_iter()
                .map(SampleAnswer::Response)
                .collect());
        }
        let mut scored = Vec::with_capacity(continuations.len());
        for part in continuations.chunks(self.settings.batch_size.max(1)) {
            scored.extend(likelihoods(self.model.lm, part)?);
        }
        let mut scored = scored.into_iter();
        let answers = batch.iter().map(|pending| {
            let of_row = scored.by_ref().take(pending.request.rows());
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

    pub(super) fn scores(
        &self,
        document: &Document,
        answer: &SampleAnswer,
    ) -> Result<Vec<SampleScore>, Error> {
        let row = &self.task.rows[document.id];
        let counted = self.task.counted(document)?;
        let extractions = &self.task.extractions;
        let scores =
            self.task.metrics.iter().map(|m| m.scores((document, row), answer, extractions, &counted));
        Ok(scores.collect::<Result<Vec<_>, _>>()?.concat())
    }

    pub(super) fn completion(
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
    pub(super) fn shown(
        &self,
        document: &Document,
        answer: &SampleAnswer,
    ) -> Result<Map<String, Value>, Error> {
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
