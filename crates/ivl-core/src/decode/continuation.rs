//! One text in progress: from the logits of a position to the next token and its text.

use crate::causal_lm::CausalLm;
use crate::decode::{FinishReason, GenerateConfig, GeneratedToken, Sampler, TextStream, TokenConstraint};
use crate::error::Error;
use crate::vocab::Vocab;

/// A text in progress, without its model: sampler, incomplete characters, stop strings, limits.
#[derive(Debug, Clone)]
pub struct Continuation {
    index: usize,
    sampler: Sampler,
    text: TextStream,
    end_tokens: Vec<u32>,
    /// Tokens before stop strings are looked for.
    unstopped: usize,
    remaining: usize,
}

impl Continuation {
    /// The start of answer number `index` to a prompt. It draws with the seed `config.seed + index`.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] or [`Error::TokenOutOfRange`] for a setting of the sampler, [`Error::PromptTooLong`] if
    /// the context has no room for one more token.
    pub fn new(
        index: usize,
        prompt: &[u32],
        config: &GenerateConfig,
        lm: &dyn CausalLm,
    ) -> Result<Self, Error> {
        let limit = lm.max_positions();
        if prompt.len() >= limit {
            return Err(Error::PromptTooLong { got: prompt.len(), limit, what: lm.info().name });
        }
        let mut text = TextStream::new(&config.stop_strings).include_stop(config.include_stop_string);
        if lm.vocab().closes_with_space() {
            text = text.after_words(prompt.last().map_or(&[][..], |&id| lm.vocab().text_bytes(id)));
        }
        let seed = config.seed.wrapping_add(index as u64);
        let end_tokens = config.end_tokens.ids(lm.vocab());
        Ok(Self {
            index,
            sampler: Sampler::new(&config.sampling, seed, prompt, lm.vocab())?
                .with_ends_after(config.min_new_tokens, &end_tokens),
            text,
            end_tokens,
            unstopped: config.min_new_tokens,
            remaining: config.max_new_tokens.min(limit - prompt.len()),
        })
    }

    /// Chooses only what a constraint allows, and ends where nothing may follow.
    #[must_use]
    pub fn constrained(self, constraint: Box<dyn TokenConstraint>) -> Self {
        Self { sampler: self.sampler.with_constraint(constraint), ..self }
    }

    /// Tokens that may still be written.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Whether a token ends the text.
    pub fn ends(&self, token: u32) -> bool {
        self.end_tokens.contains(&token)
    }

    /// The stop string that ended the text, if one did.
    pub fn stop_string(&self) -> Option<&str> {
        self.text.stop_string()
    }

    /// The sampler: a copy of it chooses the tokens that the text will have.
    pub(crate) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Chooses the next token. A step with a finish reason is the last.
    ///
    /// # Errors
    /// [`Error::NoFiniteLogit`].
    pub fn step(&mut self, logits: &[f32], vocab: &Vocab) -> Result<GeneratedToken, Error> {
        let choice = self.sampler.sample(logits)?;
        self.remaining = self.remaining.saturating_sub(1);
        let ended = self.ends(choice.token);
        let mut text = if ended { String::new() } else { self.push(choice.token, vocab) };
        let finish = if ended || self.text.stopped() || self.sampler.is_complete() {
            Some(FinishReason::Stop)
        } else {
            (self.remaining == 0).then_some(FinishReason::Length)
        };
        if finish.is_some() {
            // A stop string may be completed by the bytes that were still waiting.
            text += &self.text.finish();
        }
        let finish = if self.text.stopped() { Some(FinishReason::Stop) } else { finish };
        Ok(GeneratedToken { row: self.index, token: choice.token, logprob: choice.logprob, text, finish })
    }

    /// Text that is certain after a token.
    fn push(&mut self, token: u32, vocab: &Vocab) -> String {
        self.unstopped = self.unstopped.saturating_sub(1);
        if self.unstopped > 0 {
            return self.text.push_unwatched(vocab.text_bytes(token));
        }
        match vocab.token(token).filter(|token| token.is_control()) {
            Some(control) => self.text.push_control(&control.bytes),
            None => self.text.push(vocab.text_bytes(token)),
        }
    }
}
