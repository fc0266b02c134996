//! A text that is written turn by turn.

use burn::tensor::Tensor;

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, prefill};
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{check_ids, shared_prefix_len, to_host, token_tensor};

/// The state of a model after one text, to continue from. Of a next text, the model reads only what follows the common
/// prefix.
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

    /// Continues a prompt, as [`generate`](crate::decode::generate) does for one. The common prefix with what was read
    /// before is kept, of recurrent models up to the last length whose state is known. Dropping the iterator stops the work, and what was read stays.
    ///
    /// # Errors
    /// As [`generate`](crate::decode::generate).
    pub fn generate<'a>(
        &'a mut self,
        lm: &'a dyn CausalLm,
        prompt: &[u32],
        config: &GenerateConfig,
    ) -> Result<SessionGeneration<'a>, Error> {
        check_ids(prompt, lm.vocab())?;
        let continuation = Continuation::new(0, prompt, config, lm)?;
        // The last token is read in any case, for its logits.
        let mut reused = shared_prefix_len(&self.read, prompt).min(prompt.len() - 1);
        reused = if self.cache.depends_on_length() { 0 } else { self.cache.resumable(reused) };
        if reused == 0 {
            *self = Self::new(lm);
        }
        self.cache.truncate(reused);
        self.read.truncate(reused);
        self.cache.set_expected_len(prompt.len());
        self.cache.set_prompt_len(prompt.len());
        let continuation = (config.max_new_tokens > 0).then_some(continuation);
        Ok(SessionGeneration { session: self, lm, continuation, unread: prompt[reused..].to_vec(), reused })
    }
}

/// The iterator that [`Session::generate`] returns.
pub struct SessionGeneration<'a> {
    session: &'a mut Session,
    lm: &'a dyn CausalLm,
    continuation: Option<Continuation>,
    unread: Vec<u32>,
    reused: usize,
}

impl SessionGeneration<'_> {
    /// Tokens of the prompt that did not have to be read.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// Reads what is unread; the logits after it.
    fn read(&mut self) -> Result<Tensor<2>, Error> {
        let tokens = token_tensor(&self.unread, 1, &self.lm.device());
        let read = |chunk| self.lm.next_logits(chunk, &mut self.session.cache);
        let logits = prefill(tokens, PREFILL_CHUNK, read);
        match &logits {
            Ok(_) => self.session.read.append(&mut self.unread),
            // It is not known how much of the text the caches hold.
            Err(_) => *self.session = Session::new(self.lm),
        }
        logits?.ok_or(Error::EmptyPrompt)
    }
}

impl Iterator for SessionGeneration<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut continuation = self.continuation.take()?;
        let step = self.read().and_then(|logits| continuation.step(&to_host(logits), self.lm.vocab()));
        if let Ok(step) = &step
            && step.finish.is_none()
        {
            self.unread = vec![step.token];
            self.continuation = Some(continuation);
        }
        Some(step)
    }
}
