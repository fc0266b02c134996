//! Configuration of a generation.

use crate::decode::SamplingConfig;
use crate::vocab::{Role, Vocab};

/// Configuration of a generation. The default is greedy, at most 128 tokens, and ends where the model ends a text.
///
/// ```
/// use ivl_core::decode::GenerateConfig;
///
/// let config = GenerateConfig::default().max_new_tokens(64).stop_strings(vec!["\n".to_owned()]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerateConfig {
    /// At most this many tokens for each prompt.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// Row `r` of the batch draws with the seed `seed + r`, independent of the other rows.
    pub seed: u64,
    /// Tokens that end the text; they are reported, but they add no text.
    pub end_tokens: EndTokens,
    /// Strings that end the text; the text is cut before them. The names of control tokens count as text here, so that
    /// `<|im_end|>` ends a text also where it is one token that adds no text.
    pub stop_strings: Vec<String>,
    /// Whether the stop string that ends the text is part of it.
    pub include_stop_string: bool,
    /// Tokens before the text may end: until then end tokens are not chosen and stop strings are not looked for.
    pub min_new_tokens: usize,
}

/// The tokens that end a generated text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EndTokens {
    /// Those that play [`Role::End`] in the model's vocabulary.
    #[default]
    OfVocab,
    /// These.
    Given(Vec<u32>),
}

impl EndTokens {
    /// No token: the text continues to its other limits.
    pub fn none() -> Self {
        Self::Given(Vec::new())
    }

    /// The ids, for a model with this vocabulary.
    pub fn ids(&self, vocab: &Vocab) -> Vec<u32> {
        match self {
            Self::OfVocab => {
                let ends = vocab.roles().iter().filter(|(role, _)| *role == Role::End);
                ends.map(|&(_, id)| id).collect()
            }
            Self::Given(ids) => ids.clone(),
        }
    }
}

impl From<Vec<u32>> for EndTokens {
    fn from(ids: Vec<u32>) -> Self {
        Self::Given(ids)
    }
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            sampling: SamplingConfig::default(),
            seed: 0,
            end_tokens: EndTokens::default(),
            stop_strings: Vec::new(),
            include_stop_string: false,
            min_new_tokens: 0,
        }
    }
}

impl GenerateConfig {
    /// Sets [`max_new_tokens`](Self::max_new_tokens).
    #[must_use]
    pub fn max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = max_new_tokens;
        self
    }

    /// Sets [`sampling`](Self::sampling).
    #[must_use]
    pub fn sampling(mut self, sampling: SamplingConfig) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets [`end_tokens`](Self::end_tokens).
    #[must_use]
    pub fn end_tokens(mut self, end_tokens: impl Into<EndTokens>) -> Self {
        self.end_tokens = end_tokens.into();
        self
    }

    /// Sets [`min_new_tokens`](Self::min_new_tokens).
    #[must_use]
    pub fn min_new_tokens(mut self, min_new_tokens: usize) -> Self {
        self.min_new_tokens = min_new_tokens;
        self
    }

    /// Sets [`include_stop_string`](Self::include_stop_string).
    #[must_use]
    pub fn include_stop_string(mut self, include: bool) -> Self {
        self.include_stop_string = include;
        self
    }

    /// Sets [`stop_strings`](Self::stop_strings).
    #[must_use]
    pub fn stop_strings(mut self, stop_strings: Vec<String>) -> Self {
        self.stop_strings = stop_strings;
        self
    }
}
