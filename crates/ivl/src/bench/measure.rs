//! The timed operations.

use std::time::Instant;

use ivl_core::score::score;
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm};

use crate::error::Result;

/// Tokens that serve as a text.
fn text(len: usize, lm: &dyn CausalLm) -> Vec<u32> {
    (0..len).map(|at| (at * 7919 % lm.vocab().size()) as u32).collect()
}

/// A batch of texts whose rows have been read and continue token by token.
pub(super) struct DecodingBatch<'a> {
    lm: &'a dyn CausalLm,
    rows: usize,
    context: usize,
    cache: Cache,
}

impl<'a> DecodingBatch<'a> {
    /// Reads `context` tokens in each row.
    pub(super) fn new(lm: &'a dyn CausalLm, rows: usize, context: usize) -> Result<Self> {
        let mut cache = lm.new_cache(&vec![0; rows]);
        let prompt = text(context, lm).repeat(rows);
        lm.next_logits(token_tensor(&prompt, rows, &lm.device()), &mut cache)?;
        Ok(Self { lm, rows, context, cache })
    }

    /// Seconds of a step, over `steps` of them.
    pub(super) fn step(&mut self, steps: usize) -> Result<f64> {
        let began = Instant::now();
        for token in text(steps, self.lm) {
            // Rows with one token would choose the same experts.
            let size = self.lm.vocab().size() as u32;
            let tokens: Vec<u32> = (0..self.rows as u32).map(|row| (token + 17 * row) % size).collect();
            let tokens = token_tensor(&tokens, self.rows, &self.lm.device());
            self.lm.next_logits(tokens, &mut self.cache)?.into_data();
        }
        let seconds = began.elapsed().as_secs_f64();
        self.cache.truncate(self.context);
        Ok(seconds / steps as f64)
    }
}

/// Seconds to read a prompt of `len` tokens, up to the logits of the next.
pub(super) fn prefill(lm: &dyn CausalLm, len: usize) -> Result<f64> {
    let tokens = token_tensor(&text(len, lm), 1, &lm.device());
    let began = Instant::now();
    lm.next_logits(tokens, &mut lm.new_cache(&[0]))?.into_data();
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds to score `rows` texts of `len` tokens.
pub(super) fn scoring(lm: &dyn CausalLm, rows: usize, len: usize) -> Result<f64> {
    let texts = vec![text(len, lm); rows];
    let began = Instant::now();
    score(lm, &texts)?;
    Ok(began.elapsed().as_secs_f64())
}
