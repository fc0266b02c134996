//! Texts under teacher forcing: their likelihood, and what values change in it.

use ivl_core::score::{Score, TokenExplanation, explain, score};

use super::Model;
use crate::error::Result;

impl Model {
    /// The log-probability of every token of a text.
    ///
    /// # Errors
    /// [`Error::Unreadable`](crate::Error::Unreadable), and what [`ivl_core::score::score`] refuses.
    pub fn score(&self, text: &str) -> Result<Score> {
        let ids = self.encode_text(text)?;
        Ok(self.score_tokens(&[ids])?.remove(0))
    }

    /// The log-probabilities of texts in tokens, all of them in one batch.
    ///
    /// # Errors
    /// As [`ivl_core::score::score`].
    pub fn score_tokens<S: AsRef<[u32]>>(&self, texts: &[S]) -> Result<Vec<Score>> {
        Ok(score(self.lm(), texts)?)
    }

    /// The changes by the values at every token of a text but the first, which nothing predicts.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn explain(&self, text: &str) -> Result<Vec<Option<TokenExplanation>>> {
        Ok(explain(self.lm(), &self.encode_text(text)?)?)
    }

    /// The tokens of a whole text.
    ///
    /// # Errors
    /// [`Error::Unreadable`](crate::Error::Unreadable).
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        self.reader().encode_text(text)
    }
}
