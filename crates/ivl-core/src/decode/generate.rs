//! Generation: one token at a time, streamed, for one prompt or a left-padded batch.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, PromptBatch};
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;
use crate::tokens::{check_ids, retain_indices, to_host, token_tensor};

/// Continues prompts: an iterator over new tokens, each computed when it is taken.
///
/// Prompts of different lengths are padded on the left; a row that ends leaves the batch. A long beginning that all prompts
/// have in common is read once. Dropping the iterator stops the work.
///
/// # Errors
/// Before the first token: [`Error::EmptyPrompt`], [`Error::PromptTooLong`], [`Error::TokenOutOfRange`],
/// [`Error::InvalidSetting`]. While it runs, an item may be [`Error::NoFiniteLogit`] or an error of the model, after which
/// it ends.
pub fn generate<'a, S: AsRef<[u32]>>(
    lm: &'a dyn CausalLm,
    prompts: &[S],
    config: &GenerateConfig,
) -> Result<TokenStream<'a>, Error> {
    prompts.iter().try_for_each(|prompt| check_ids(prompt.as_ref(), lm.vocab()))?;
    let batch = PromptBatch::new(lm, prompts);
    let (got, limit) = (batch.longest(), lm.max_positions());
    if got >= limit {
        return Err(Error::PromptTooLong { got, limit, what: lm.info().name });
    }
    let mut rows = Vec::with_capacity(prompts.len());
    for (row, prompt) in prompts.iter().enumerate() {
        rows.push(Continuation::new(row, prompt.as_ref(), config, lm)?);
    }
    if config.max_new_tokens == 0 {
        rows.clear();
    }
    Ok(TokenStream { lm, prompts: batch, cache: None, rows, last: Vec::new(), ready: VecDeque::new() })
}

/// The iterator that [`generate`] returns.
pub struct TokenStream<'a> {
    lm: &'a dyn CausalLm,
    prompts: PromptBatch,
    /// What the model has read of each row; nothing yet of the prompts if there is none.
    cache: Option<Cache>,
    rows: Vec<Continuation>,
    /// The last token of each row, which is to be read.
    last: Vec<u32>,
    ready: VecDeque<GeneratedToken>,
}

impl TokenStream<'_> {
    /// Reads what is unread; the logits after it.
    ///
    /// # Shapes
    /// - output: `[rows, vocab]`
    fn read(&mut self) -> Result<Tensor<2>, Error> {
        if let Some(cache) = &mut self.cache {
            let tokens = token_tensor(&self.last, self.rows.len(), &self.lm.device());
            return self.lm.next_logits(tokens, cache);
        }
        let len = self.prompts.longest();
        let cache = self.cache.insert(self.prompts.open(self.lm, len)?);
        cache.set_prompt_len(len);
        self.prompts.read(self.lm, cache)?.ok_or(Error::EmptyPrompt)
    }

    /// Chooses the next token of every row.
    fn advance(&mut self) -> Result<(), Error> {
        let logits = self.read()?;
        let vocab = logits.dims()[1];
        let logits = to_host(logits);
        let (mut kept, mut tokens) = (Vec::new(), Vec::new());
        for (index, (row, logits)) in self.rows.iter_mut().zip(logits.chunks(vocab)).enumerate() {
            let step = row.step(logits, self.lm.vocab())?;
            if step.finish.is_none() {
                kept.push(index);
                tokens.push(step.token);
            }
            self.ready.push_back(step);
        }
        if kept.len() < self.rows.len() {
            retain_indices(&mut self.rows, &kept);
            if let Some(cache) = self.cache.as_mut().filter(|_| !kept.is_empty()) {
                cache.keep(&kept);
            }
        }
        self.last = tokens;
        Ok(())
    }
}

impl Iterator for TokenStream<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && !self.rows.is_empty()
            && let Err(error) = self.advance()
        {
            self.rows.clear();
            self.ready.clear();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}
