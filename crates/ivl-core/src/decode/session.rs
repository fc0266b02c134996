//! A text that is written turn by turn.

use burn::tensor::Tensor;

use crate::cache::Cache;
use crate::causal_lm::token_tensor;
use crate::causal_lm::{CausalLm, PaddedBatch};
use crate::cross_tokenizer::text_cache::shared;
use crate::decode::generate::{PREFILL, to_host};
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;

/// What a model has read of one text, to go on from. A next text that begins alike is read from where they part.
pub struct Session {
    cache: Cache,
    read: Vec<u32>,
}

impl Session {
    /// A session in which nothing was read.
    pub fn new(lm: &dyn CausalLm) -> Self {
        Self { cache: lm.new_cache(&[0]), read: Vec::new() }
    }

    /// Tokens that the model holds.
    pub fn read(&self) -> &[u32] {
        &self.read
    }

    /// Continues a prompt, as [`generate`](crate::decode::generate) does for one. Of what was read before, the common beginning
    /// is kept. Dropping the iterator stops the work, and what was read stays.
    ///
    /// # Errors
    /// As [`generate`](crate::decode::generate).
    pub fn generate<'a>(
        &'a mut self,
        lm: &'a dyn CausalLm,
        prompt: &[u32],
        config: &GenerateConfig,
    ) -> Result<SessionGeneration<'a>, Error> {
        PaddedBatch::new(&[prompt], lm.vocab())?;
        let continuation = Continuation::new(0, prompt, config, lm)?;
        // The last token is read in any case, for its logits.
        let mut reused = shared(&self.read, prompt).min(prompt.len() - 1);
        if self.cache.depends_on_length() {
            reused = 0;
        }
        if reused == 0 {
            *self = Self::new(lm);
        }
        self.cache.truncate(reused);
        self.read.truncate(reused);
        self.cache.expect(prompt.len());
        self.cache.prompt(prompt.len());
        let continuation = (config.max_new_tokens > 0).then_some(continuation);
        Ok(SessionGeneration { session: self, lm, continuation, next: prompt[reused..].to_vec(), reused })
    }
}

/// The iterator that [`Session::generate`] returns.
pub struct SessionGeneration<'a> {
    session: &'a mut Session,
    lm: &'a dyn CausalLm,
    continuation: Option<Continuation>,
    next: Vec<u32>,
    reused: usize,
}

impl SessionGeneration<'_> {
    /// Tokens of the prompt that did not have to be read.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// Reads what is next, a long prompt in pieces.
    fn read(&mut self) -> Option<Tensor<2>> {
        let mut logits = None;
        for piece in std::mem::take(&mut self.next).chunks(PREFILL) {
            let tokens = token_tensor(piece, 1, &self.lm.device());
            logits = Some(self.lm.next_logits(tokens, &mut self.session.cache));
            self.session.read.extend_from_slice(piece);
        }
        logits
    }
}

impl Iterator for SessionGeneration<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.continuation.as_ref()?;
        let logits = to_host(self.read()?);
        let step = self.continuation.as_mut()?.step(&logits, self.lm.vocab());
        match &step {
            Ok(step) if step.finish.is_none() => self.next = vec![step.token],
            _ => self.continuation = None,
        }
        Some(step)
    }
}
