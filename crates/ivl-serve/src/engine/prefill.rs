//! Reads prompts, several side by side.

use burn::tensor::DType;
use burn::tensor::activation::log_softmax;
use ivl_core::causal_lm::prefill;
use ivl_core::fusion::{BaseLm, CumulativeLogits, DecodeBatch};
use ivl_core::row_chunks::LogitBudget;
use ivl_core::tokens::{PaddedBatch, to_host, token_tensor};
use ivl_core::{CausalLm, Error, ValueStack};

use super::row::{Logits, Row, explained, most_probable, wants_stages};
use super::{EngineEvent, Job, Scored};

/// Tokens read in a round while texts are being written: bounds how long a prompt delays them.
const CHUNK_BUSY: usize = 256;

/// Tokens read in a round otherwise.
const CHUNK: usize = 1024;

/// Tokens, padding included, of prompts that are read together.
const GROUP: usize = 2048;

/// The logits held at once while a prompt is scored.
const SCORED_LOGITS: LogitBudget = LogitBudget::mebibytes(128);

/// Prompts that are read side by side.
pub(super) struct Prefill {
    jobs: Vec<Job>,
    batch: DecodeBatch,
    tokens: PaddedBatch,
    next: usize,
    cached: usize,
    scored: Vec<Vec<Scored>>,
}

/// Whether a job may be read with others: scored prompts with scored ones, and with little padding.
pub(super) fn fit_together(group: &[Job], job: &Job) -> bool {
    let Some(first) = group.first() else { return true };
    let lengths = || group.iter().chain([job]).map(|job| job.prompt.len());
    let padded = (group.len() + 1) * lengths().max().unwrap_or(0);
    first.output.scores_prompt() == job.output.scores_prompt()
        && padded <= GROUP
        && padded <= 2 * lengths().sum::<usize>()
}

impl Prefill {
    /// Prepares to read. `known` holds the beginning of the only prompt of the group, with its length in tokens.
    pub(super) fn new(lm: &BaseLm, jobs: Vec<Job>, known: Option<(DecodeBatch, usize)>) -> Self {
        let cached = known.as_ref().map_or(0, |(_, len)| *len);
        let rest: Vec<&[u32]> = jobs.iter().map(|job| &job.prompt[cached..]).collect();
        let tokens = PaddedBatch::unchecked(&rest);
        let begun = || {
            let weights = jobs.iter().map(|job| job.weights.clone()).collect();
            let batch = DecodeBatch::new(lm, &tokens.padding, weights);
            let mut batch = batch.expect("a model makes caches with a part for each of its values");
            batch.set_prompt_len(tokens.seq);
            batch
        };
        let batch = known.map_or_else(begun, |(batch, _)| batch);
        let first = |job: &Job| Scored {
            id: job.prompt[0],
            logprob: None,
            rank: None,
            top: Vec::new(),
            explained: None,
        };
        let scored =
            jobs.iter().map(|job| if job.output.scores_prompt() { vec![first(job)] } else { Vec::new() });
        Self { scored: scored.collect(), jobs, batch, tokens, next: 0, cached }
    }

    /// Whether no client waits for any of the prompts.
    pub(super) fn cancelled(&self) -> bool {
        self.jobs.iter().all(super::job::Job::cancelled)
    }

    pub(super) fn into_jobs(self) -> Vec<Job> {
        self.jobs
    }

    /// Reads a piece; returns the logits after the last token once all is read.
    pub(super) fn advance(&mut self, lm: &BaseLm, busy: bool) -> Result<Option<Logits>, Error> {
        let rows = self.jobs.len();
        let scores = self.jobs[0].output.scores_prompt();
        let mut columns = (if busy { CHUNK_BUSY } else { CHUNK } / rows).max(1);
        if scores {
            let used = |value: &usize| self.jobs.iter().any(|job| job.weights[*value] != 0.0);
            let stages = 1 + (0..lm.num_values()).filter(used).count();
            columns = columns.min(SCORED_LOGITS.rows(rows * stages * lm.vocab().size()));
        }
        let mut end = (self.next + columns).min(self.tokens.seq);
        // A recurrent model can go on before the last token of the same prompt only if it stopped there.
        if end == self.tokens.seq && self.next + 1 < end && rows == 1 && lm.info().cache_bytes.per_text > 0 {
            end -= 1;
        }
        let tokens = self.tokens.columns(self.next, end, &lm.device());
        let last = end == self.tokens.seq;
        let logits = if scores {
            let all = self.batch.forward(lm, tokens)?;
            self.score(&all, end);
            last.then(|| last_position(all))
        } else {
            let logits = self.batch.next_logits(lm, tokens)?;
            last.then_some(logits)
        };
        self.next = end;
        let compares = self.jobs.iter().any(|job| wants_stages(job, true));
        Ok(logits.map(|logits| Logits::new(logits, compares)))
    }

    fn explains(&self) -> bool {
        self.jobs.iter().any(|job| job.output.explain)
    }

    /// Log-probabilities of the tokens after the positions `next..end`: f32 log-softmax, as `ivl_core::score::score`.
    fn score(&mut self, logits: &CumulativeLogits, end: usize) {
        let fused = logits.last();
        let [_, columns, vocab] = fused.dims();
        let logprobs = to_host(log_softmax(fused.cast(DType::F32), 2));
        let stages = self.explains().then(|| logits.iter().cloned().map(to_host).collect::<Vec<_>>());
        for (row, (job, scored)) in self.jobs.iter().zip(&mut self.scored).enumerate() {
            let padding = self.tokens.padding[row];
            for position in self.next.max(padding)..end {
                let Some(&id) = job.prompt.get(position - padding + 1) else { break };
                let at = (row * columns + position - self.next) * vocab;
                let place = at..at + vocab;
                let logprobs = &logprobs[place.clone()];
                let explains = |stages: &Vec<Vec<f32>>| {
                    let stages: Vec<&[f32]> = stages.iter().map(|stage| &stage[place.clone()]).collect();
                    explained(&stages, &job.weights, id)
                };
                scored.push(Scored {
                    id,
                    logprob: Some(logprobs[id as usize]),
                    rank: job.output.prompt_logprobs.map(|_| rank(logprobs, id)),
                    top: most_probable(logprobs, job.output.prompt_alternatives()),
                    explained: stages.as_ref().filter(|_| job.output.explain).map(explains),
                });
            }
        }
    }

    /// Reports to the clients that their prompts were read, and hands the jobs over.
    pub(super) fn finish(self) -> (Vec<Job>, DecodeBatch) {
        for (job, tokens) in self.jobs.iter().zip(self.scored) {
            // A client that has gone away is noticed in the next round.
            let _ = job.events.send(EngineEvent::Prompt { first: job.first, tokens, cached: self.cached });
        }
        (self.jobs, self.batch)
    }
}

/// The place of a token among all by probability, from 1.
fn rank(logprobs: &[f32], id: u32) -> usize {
    1 + logprobs.iter().filter(|&&other| other > logprobs[id as usize]).count()
}

fn last_position(logits: CumulativeLogits) -> CumulativeLogits {
    logits.map(|logits| {
        let [rows, seq, vocab] = logits.dims();
        logits.slice([0..rows, seq - 1..seq, 0..vocab])
    })
}

/// Reads all of a text that is being written.
pub(super) fn read_text(lm: &BaseLm, row: &Row) -> Result<(DecodeBatch, Logits), Error> {
    let mut batch = DecodeBatch::new(lm, &[0], vec![row.weights().to_vec()])?;
    batch.set_prompt_len(row.text().len());
    let tokens = token_tensor(row.text(), 1, &lm.device());
    let logits = prefill(tokens, CHUNK, |chunk| batch.next_logits(lm, chunk))?;
    let logits = logits.expect("a text has at least the token of its prompt");
    Ok((batch, Logits::new(logits, row.compares(false))))
}
