//! Scoring: the log-probability of every token of a text, under teacher forcing.

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Tensor};

use crate::generate::to_host;
use crate::{CausalLm, Error, PaddedBatch, pieces};

/// Log-probabilities of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// `log p(token_i | tokens before it)`, natural logarithm; the first token has none.
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
        return Err(Error::TextTooLong { got: batch.seq, limit, what: lm.name().to_owned() });
    }
    let rows = batch.padding.len();
    let device = lm.device();
    let mut cache = lm.new_cache(&batch.padding);
    cache.expect(batch.seq);
    let mut scores: Vec<Score> = batch.padding.iter().map(|_| Score { logprobs: vec![None] }).collect();
    // Position i predicts token i + 1, so the last token is read by nobody.
    for Range { start, end } in pieces(batch.seq.saturating_sub(1), rows * lm.vocab().size()) {
        let logits = lm.forward(batch.columns(start, end, &device), &mut cache);
        let targets = batch.columns(start + 1, end + 1, &device);
        let logprobs: Tensor<3> = log_softmax(logits.cast(DType::F32), 2).gather(2, targets.unsqueeze_dim(2));
        for ((row, score), logprobs) in
            scores.iter_mut().enumerate().zip(to_host(logprobs).chunks(end - start))
        {
            let first = batch.padding[row].saturating_sub(start);
            score.logprobs.extend(logprobs.iter().skip(first).map(|&logprob| Some(logprob)));
        }
    }
    Ok(scores)
}
