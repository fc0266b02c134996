//! Generation: one token at a time, streamed, for one prompt or a left-padded batch.

use std::collections::VecDeque;

use crate::causal_lm::{CausalLm, prefill};
use crate::decode::shared_beginning::SharedBeginning;
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;
use crate::fusion::DecodeBatch;
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{PaddedBatch, retain_indices, to_host, token_tensor};

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
    let padded = PaddedBatch::new(prompts, lm.vocab())?;
    let limit = lm.max_positions();
    if padded.seq >= limit {
        return Err(Error::PromptTooLong { got: padded.seq, limit, what: lm.info().name });
    }
    let mut rows = Vec::with_capacity(prompts.len());
    for (row, prompt) in prompts.iter().enumerate() {
        rows.push(Continuation::new(row, prompt.as_ref(), config, lm)?);
    }
    if config.max_new_tokens == 0 {
        rows.clear();
    }
    let shared = SharedBeginning::of(lm, prompts);
    let unread = shared.as_ref().map_or(padded.ids, |shared| shared.unread(prompts));
    let mut batch = DecodeBatch::with_own_weights(lm, &padded.padding);
    batch.set_prompt_len(padded.seq);
    Ok(TokenStream { lm, shared, batch, rows, unread, ready: VecDeque::new() })
}

/// The iterator that [`generate`] returns.
pub struct TokenStream<'a> {
    lm: &'a dyn CausalLm,
    /// What is to be read before all else; the batch is made of it.
    shared: Option<SharedBeginning>,
    batch: DecodeBatch,
    rows: Vec<Continuation>,
    /// Tokens `[rows, seq]`: first the prompts, or the rest of them, then the last token of each row.
    unread: Vec<u32>,
    ready: VecDeque<GeneratedToken>,
}

impl TokenStream<'_> {
    /// Reads what is unread and chooses the next token of every row.
    fn advance(&mut self) -> Result<(), Error> {
        if let Some(shared) = self.shared.take() {
            self.batch = shared.read(self.lm)?;
        }
        let tokens = token_tensor(&self.unread, self.rows.len(), &self.lm.device());
        let read = |chunk| self.batch.next_own_logits(self.lm, chunk);
        let logits = prefill(tokens, PREFILL_CHUNK, read)?.ok_or(Error::EmptyPrompt)?;
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
            if !kept.is_empty() {
                self.batch.keep(&kept);
            }
        }
        self.unread = tokens;
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
