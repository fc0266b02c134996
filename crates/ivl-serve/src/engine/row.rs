//! A text being written, and the logits of its next token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use ivl_core::Error;
use ivl_core::decode::{Continuation, log_normalizer};
use ivl_core::fusion::{BaseLm, CumulativeLogits};
use ivl_core::score::{DistributionChange, TokenExplanation};
use ivl_core::tokens::to_host;

use super::{EngineError, EngineEvent, Job, Scored};
use crate::catalog::Catalog;
use crate::metrics::Metrics;

/// Logits at one position of every row, on the host.
pub(super) struct Logits {
    fused: Vec<f32>,
    /// All stages but the last, which are the fused logits.
    below: Option<Vec<Vec<f32>>>,
    vocab: usize,
}

/// The logits of one row.
pub(super) struct PositionLogits<'a> {
    pub(super) fused: &'a [f32],
    /// Their components, if requested: see [`CumulativeLogits`].
    pub(super) stages: Option<Vec<&'a [f32]>>,
}

impl Logits {
    /// `compared` if the stages are wanted too.
    ///
    /// # Shapes
    /// - `logits`: `[rows, 1, vocab]`
    pub(super) fn new(logits: CumulativeLogits, compared: bool) -> Self {
        let mut below = logits.into_vec();
        let fused = below.pop().expect("there are at least the base's logits");
        let vocab = fused.dims()[2];
        let below = compared.then(|| below.into_iter().map(to_host).collect());
        Self { fused: to_host(fused), below, vocab }
    }

    pub(super) fn row(&self, row: usize) -> PositionLogits<'_> {
        let range = row * self.vocab..(row + 1) * self.vocab;
        let fused = &self.fused[range.clone()];
        let stages = self
            .below
            .as_ref()
            .map(|below| below.iter().map(|stage| &stage[range.clone()]).chain([fused]).collect());
        PositionLogits { fused, stages }
    }
}

/// The `k` largest of some log-probabilities, the largest first, the lower id among equals.
pub(super) fn most_probable(logprobs: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(k + 1);
    for (id, &logprob) in logprobs.iter().enumerate() {
        if best.len() < k || best.last().is_some_and(|(_, last)| logprob > *last) {
            let at = best.partition_point(|(_, other)| *other >= logprob);
            best.insert(at, (id as u32, logprob));
            best.truncate(k);
        }
    }
    best
}

/// Whether a text continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    On,
    Ended,
}

/// A text being written.
pub(super) struct Row {
    job: Arc<Job>,
    choice: usize,
    continuation: Continuation,
    text: Vec<u32>,
    last_at: Instant,
}

impl Row {
    /// The texts of a job.
    pub(super) fn begin(job: &Arc<Job>, lm: &BaseLm) -> Vec<Self> {
        let row = |index| {
            let row = Self {
                job: job.clone(),
                choice: job.first + index,
                continuation: continuation(index, job, lm)?,
                text: job.prompt.clone(),
                last_at: job.began,
            };
            Ok::<_, Error>(row)
        };
        let rows: Result<Vec<Self>, Error> = (0..job.n).map(row).collect();
        // The settings were checked when the request came.
        rows.unwrap_or_else(|_| {
            let _ = job.events.send(EngineEvent::Failed(EngineError::Internal));
            Vec::new()
        })
    }

    /// Prompt and what was written, up to the token that was not read yet.
    pub(super) fn text(&self) -> &[u32] {
        &self.text
    }

    pub(super) fn continuation(&self) -> &Continuation {
        &self.continuation
    }

    pub(super) fn weights(&self) -> &[f64] {
        &self.job.weights
    }

    pub(super) fn cancelled(&self) -> bool {
        self.job.cancelled()
    }

    /// The token to be read next.
    pub(super) fn last(&self) -> u32 {
        self.text[self.text.len() - 1]
    }

    /// Length of the text if every token allowed is written.
    pub(super) fn longest(&self) -> usize {
        self.job.full_length()
    }

    /// Whether the stages are wanted for the next token; `sampled` if they are for the metrics in this round.
    pub(super) fn compares(&self, sampled: bool) -> bool {
        wants_stages(&self.job, sampled)
    }

    pub(super) fn fail(&self, error: EngineError) {
        self.job.fail(error);
    }

    /// Chooses the next token and sends it to the client. A panic ends this text and no other.
    pub(super) fn step(&mut self, logits: &PositionLogits<'_>, catalog: &Catalog, metrics: &Metrics) -> Step {
        if self.job.config.max_new_tokens == 0 {
            return Step::Ended;
        }
        let step = AssertUnwindSafe(|| self.write(logits, catalog, metrics));
        catch_unwind(step).unwrap_or_else(|_| {
            metrics.panicked();
            self.fail(EngineError::Internal);
            Step::Ended
        })
    }

    fn write(&mut self, logits: &PositionLogits<'_>, catalog: &Catalog, metrics: &Metrics) -> Step {
        let Ok(step) = self.continuation.step(logits.fused, catalog.vocab()) else {
            self.fail(EngineError::NoToken);
            return Step::Ended;
        };
        let output = self.job.output;
        let stages = logits.stages.as_ref().filter(|_| wants_stages(&self.job, true));
        let explained =
            stages.filter(|_| output.explain).map(|stages| explained(stages, &self.job.weights, step.token));
        let change = explained.as_ref().map(|explained| explained.change);
        let change = change.or_else(|| {
            stages.map(|stages| DistributionChange::between(stages[0], logits.fused, step.token))
        });
        self.measure(change, catalog, metrics);
        let token = Scored {
            id: step.token,
            logprob: Some(step.logprob),
            rank: None,
            top: output.logprobs.filter(|&k| k > 0).map_or_else(Vec::new, |k| top(logits.fused, k)),
            explained,
        };
        self.text.push(step.token);
        let sent = self.job.events.send(EngineEvent::Token {
            choice: self.choice,
            token,
            text: step.text,
            finish: step.finish,
            stop_string: self.continuation.stop_string().map(str::to_owned),
        });
        if step.finish.is_some() || sent.is_err() { Step::Ended } else { Step::On }
    }

    fn measure(&mut self, change: Option<DistributionChange>, catalog: &Catalog, metrics: &Metrics) {
        let now = Instant::now();
        let label = catalog.label(&self.job.weights);
        let first = self.text.len() == self.job.prompt.len();
        metrics.token(label, now - self.last_at, first);
        self.last_at = now;
        if let Some(change) = change.filter(|_| self.job.weights.iter().any(|&weight| weight != 0.0)) {
            metrics.change(label, &change);
        }
    }
}

fn continuation(index: usize, job: &Job, lm: &BaseLm) -> Result<Continuation, Error> {
    let continuation = Continuation::new(index, &job.prompt, &job.config, lm)?;
    Ok(match job.constraint.is_empty() {
        true => continuation,
        false => continuation.constrained(Box::new(job.constraint.clone())),
    })
}

/// Effect of a text's values on a token; values of weight 0 are left out.
pub(super) fn explained(stages: &[&[f32]], weights: &[f64], token: u32) -> TokenExplanation {
    let used = stages[1..].iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
    let stages: Vec<&[f32]> = stages[..1].iter().chain(used.map(|(stage, _)| stage)).copied().collect();
    TokenExplanation::between(&stages, token)
}

/// Whether the stages are wanted: to explain, or for the metrics of the values.
pub(super) fn wants_stages(job: &Job, sampled: bool) -> bool {
    job.output.explain || sampled && job.weights.iter().any(|&weight| weight != 0.0)
}

/// Log-probabilities of the most probable tokens.
fn top(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let total = log_normalizer(logits);
    let best = most_probable(logits, k);
    best.into_iter().map(|(id, logit)| (id, (f64::from(logit) - total) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_in_order_and_equals_by_id() {
        let logprobs = [-3.0, -1.0, -2.0, -1.0, -4.0];
        assert_eq!(most_probable(&logprobs, 3), [(1, -1.0), (3, -1.0), (2, -2.0)]);
        assert_eq!(most_probable(&logprobs, 9).len(), 5);
        assert!(most_probable(&logprobs, 0).is_empty());
    }
}
