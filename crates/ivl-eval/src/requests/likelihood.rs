//! How likely continuations are, many at a time.

use std::ops::Range;

use ivl_core::causal_lm::{Positions, PromptBatch};
use ivl_core::row_chunks::row_chunks;
use ivl_core::score::target_logprobs;
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm, Error};
use serde::{Deserialize, Deserializer, Serialize};

/// A context and what may follow it, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LikelihoodRequest {
    /// The context; at least one token.
    pub(crate) context: Vec<u32>,
    /// The scored continuation; at least one token.
    pub(crate) tokens: Vec<u32>,
}

impl LikelihoodRequest {
    /// Tokens that are read to score it: all but the last.
    pub(crate) fn positions(&self) -> usize {
        self.context.len() + self.tokens.len() - 1
    }
}

/// How likely a continuation is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// `log p(token | all before it)` of each of its tokens, natural logarithm. In JSON, minus infinity is `null`.
    #[serde(deserialize_with = "null_is_minus_infinity")]
    pub logprobs: Vec<f32>,
    /// Whether each token is the one that greedy decoding chooses there.
    pub is_greedy: bool,
}

impl Likelihood {
    /// Log-likelihood: the sum over its tokens.
    pub fn sum(&self) -> f64 {
        self.logprobs.iter().map(|&logprob| f64::from(logprob)).sum()
    }

    /// Of two pieces of one text, the first's tokens before the second's.
    #[must_use]
    pub(crate) fn join(mut self, next: Self) -> Self {
        self.logprobs.extend(next.logprobs);
        self.is_greedy &= next.is_greedy;
        self
    }
}

fn null_is_minus_infinity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let logprobs = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(logprobs.into_iter().map(|logprob| logprob.unwrap_or(f32::NEG_INFINITY)).collect())
}

/// Scores continuations in one batch. Contexts that are the same are read once, as is what they all begin with: their keys and
/// values are repeated for the continuations, which are padded on the right. Logits are computed where a token is scored and
/// nowhere else, in f32 over the whole vocabulary.
///
/// # Errors
/// [`Error::EmptyPrompt`] for a context or continuation without tokens, [`Error::TextTooLong`], [`Error::TokenOutOfRange`].
pub(crate) fn likelihoods(
    lm: &dyn CausalLm,
    continuations: &[&LikelihoodRequest],
) -> Result<Vec<Likelihood>, Error> {
    check(lm, continuations)?;
    let mut contexts: Vec<&[u32]> = Vec::new();
    let rows: Vec<usize> = continuations
        .iter()
        .map(|continuation| {
            let context = continuation.context.as_slice();
            contexts.iter().position(|known| *known == context).unwrap_or_else(|| {
                contexts.push(context);
                contexts.len() - 1
            })
        })
        .collect();
    let longest = continuations.iter().map(|continuation| continuation.tokens.len()).max().unwrap_or(0);
    let mut cache = read_contexts(lm, &contexts, longest)?;
    if rows.iter().copied().ne(0..contexts.len()) {
        cache.select(&rows);
    }
    score(lm, continuations, longest, &mut cache)
}

fn check(lm: &dyn CausalLm, continuations: &[&LikelihoodRequest]) -> Result<(), Error> {
    let (size, limit) = (lm.vocab().size(), lm.max_positions());
    for continuation in continuations {
        if continuation.context.is_empty() || continuation.tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let got = continuation.positions();
        if got > limit {
            return Err(Error::TextTooLong { got, limit, what: lm.info().name });
        }
        let all = continuation.context.iter().chain(&continuation.tokens);
        if let Some((position, &id)) = all.enumerate().find(|&(_, &id)| id as usize >= size) {
            return Err(Error::TokenOutOfRange { id, position, size });
        }
    }
    Ok(())
}

/// Reads all but the last token of each context, padded on the left so that they end together.
fn read_contexts(lm: &dyn CausalLm, contexts: &[&[u32]], longest: usize) -> Result<Cache, Error> {
    let read: Vec<&[u32]> = contexts.iter().map(|context| &context[..context.len() - 1]).collect();
    let batch = PromptBatch::new(lm, &read);
    let mut cache = batch.open(lm, batch.longest() + longest)?;
    batch.read(lm, &mut cache)?;
    Ok(cache)
}

/// Reads the last token of each context and the continuation after it, and scores the continuation.
fn score(
    lm: &dyn CausalLm,
    continuations: &[&LikelihoodRequest],
    longest: usize,
    cache: &mut Cache,
) -> Result<Vec<Likelihood>, Error> {
    let device = lm.device();
    let empty = Likelihood { logprobs: Vec::new(), is_greedy: true };
    let mut scores = vec![empty; continuations.len()];
    for Range { start, end } in row_chunks(longest, 0) {
        let width = end - start;
        let (mut ids, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, continuation) in continuations.iter().enumerate() {
            let LikelihoodRequest { context, tokens } = continuation;
            let read = |at: usize| match at {
                0 => context[context.len() - 1],
                // Positions after the end are not scored.
                at => tokens.get(at - 1).copied().unwrap_or(0),
            };
            ids.extend((start..end).map(read));
            let scored = start..end.min(tokens.len());
            positions.extend(scored.clone().map(|at| row * width + at - start));
            targets.extend(scored.map(|at| (row, tokens[at])));
        }
        let tokens = token_tensor(&ids, continuations.len(), &device);
        let logits = lm.select_logits(tokens, Positions::Indices(&positions), cache)?;
        for rows in row_chunks(targets.len(), lm.vocab().size()) {
            let targets = &targets[rows.clone()];
            let ids: Vec<u32> = targets.iter().map(|&(_, id)| id).collect();
            let scored = target_logprobs(logits.rows(rows), &ids);
            for (&(row, id), (logprob, greedy)) in targets.iter().zip(scored) {
                if logprob.is_nan() {
                    return Err(Error::NoFiniteLogit { step: scores[row].logprobs.len() });
                }
                scores[row].logprobs.push(logprob);
                scores[row].is_greedy &= greedy == id;
            }
        }
    }
    Ok(scores)
}
