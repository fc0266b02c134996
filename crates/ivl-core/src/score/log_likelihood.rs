//! Scoring: the log-probability of every token of a text, under teacher forcing.

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor};
use ivl_kernels::logprobs;

use crate::causal_lm::{CausalLm, Positions};
use crate::error::Error;
use crate::row_chunks::row_chunks;
use crate::tokens::{PaddedBatch, host_ids, index_tensor, is_host, to_host};

/// Log-probabilities of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The tokens.
    pub ids: Vec<u32>,
    /// `log p(token_i | tokens before it)`, natural logarithm; `None` for the first token.
    pub logprobs: Vec<Option<f32>>,
}

impl Score {
    /// Sum of the log-probabilities.
    pub fn sum(&self) -> f64 {
        self.logprobs.iter().flatten().map(|&logprob| f64::from(logprob)).sum()
    }

    /// Number of predicted tokens.
    pub fn predicted(&self) -> usize {
        self.logprobs.iter().flatten().count()
    }

    /// `exp(-sum / predicted)`; `None` if nothing was predicted.
    pub fn perplexity(&self) -> Option<f64> {
        (self.predicted() > 0).then(|| (-self.sum() / self.predicted() as f64).exp())
    }
}

/// Scores sequences in one left-padded batch: `log softmax(l)` in f32 over the whole vocabulary.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::TextTooLong`] or [`Error::TokenOutOfRange`].
pub fn score<S: AsRef<[u32]>>(lm: &dyn CausalLm, sequences: &[S]) -> Result<Vec<Score>, Error> {
    let batch = PaddedBatch::new(sequences, lm.vocab())?;
    let limit = lm.max_positions();
    if batch.seq > limit {
        return Err(Error::TextTooLong { got: batch.seq, limit, what: lm.info().name });
    }
    let device = lm.device();
    let mut cache = lm.new_cache(&batch.padding);
    cache.set_expected_len(batch.seq);
    let score = |ids: &S| Score { ids: ids.as_ref().to_vec(), logprobs: vec![None] };
    let mut scores: Vec<Score> = sequences.iter().map(score).collect();
    // Position i predicts token i + 1, so the last token need not be read.
    for Range { start, end } in row_chunks(batch.seq - 1, batch.padding.len() * lm.vocab().size()) {
        let width = end - start;
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (row, sequence) in sequences.iter().enumerate() {
            let padding = batch.padding[row];
            for at in start.max(padding)..end {
                positions.push(row * width + at - start);
                targets.push((row, sequence.as_ref()[at + 1 - padding]));
            }
        }
        if targets.is_empty() {
            continue;
        }
        let tokens = batch.columns(start, end, &device);
        let logits = lm.select_logits(tokens, Positions::Indices(&positions), &mut cache)?;
        for rows in row_chunks(targets.len(), lm.vocab().size()) {
            let (of, ids): (Vec<usize>, Vec<u32>) = targets[rows.clone()].iter().copied().unzip();
            for (row, (logprob, _)) in of.into_iter().zip(target_logprobs(logits.rows(rows), &ids)) {
                scores[row].logprobs.push(Some(logprob));
            }
        }
    }
    Ok(scores)
}

/// For each row of logits, the log-probability of its target in nats, and the id of the largest logit.
///
/// # Shapes
/// - `logits`: `[n, vocab]`
/// - `targets`: `[n]`
///
/// # Panics
/// If a target is outside the vocabulary, or there is not one for each row.
pub fn target_logprobs(logits: Tensor<2>, targets: &[u32]) -> Vec<(f32, u32)> {
    let logits = logits.cast(DType::F32);
    if is_host(&logits.device()) {
        return logprobs(&to_host(logits), targets);
    }
    let ids: Vec<usize> = targets.iter().map(|&id| id as usize).collect();
    let ids = index_tensor(&ids, &logits.device()).unsqueeze_dim(1);
    let largest: Tensor<1, Int> = logits.clone().argmax(1).squeeze_dim(1);
    let logprobs: Tensor<1> = log_softmax(logits, 1).gather(1, ids).squeeze_dim(1);
    to_host(logprobs).into_iter().zip(host_ids(largest)).collect()
}
