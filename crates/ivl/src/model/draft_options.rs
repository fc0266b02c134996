//! How tokens are guessed ahead.

use ivl_core::Vocab;
use ivl_core::decode::Draft;

use crate::device::Dtype;
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// The options of speculative decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DraftSource {
    /// A smaller base of the same vocabulary: a directory or hub name.
    Model(String),
    /// Prompt lookup: the tokens that followed the last N tokens earlier in the text.
    PromptLookup {
        /// How many.
        ngram: usize,
    },
}

/// How tokens are guessed ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DraftOptions {
    /// The source of drafts.
    pub source: DraftSource,
    /// The type of a draft model's weights. [`Dtype::Auto`] is int8 on a CPU, since guesses may be wrong, or as a GGUF file stores them, and the type of
    /// the model elsewhere.
    pub dtype: Dtype,
    /// Whether a draft model guesses without the values.
    pub without_values: bool,
    /// The maximum of tokens drafted in a round; the actual number adapts to acceptance and time.
    pub max_tokens: usize,
}

impl DraftOptions {
    /// Drafts of at most 16 tokens.
    pub fn new(source: DraftSource) -> Self {
        Self { source, dtype: Dtype::Auto, without_values: false, max_tokens: 16 }
    }

    /// The type of a draft model's weights.
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Whether a draft model guesses without the values.
    #[must_use]
    pub fn without_values(mut self, without_values: bool) -> Self {
        self.without_values = without_values;
        self
    }

    /// The maximum of tokens drafted in a round.
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// The numbers of a draft model's weights.
    pub(super) fn numbers(&self) -> Result<u64> {
        match &self.source {
            DraftSource::Model(name) => Ok(OpenCheckpoint::open(name)?.numbers(None)),
            DraftSource::PromptLookup { .. } => Ok(0),
        }
    }

    /// Refuses a draft model of another vocabulary than the target's, before a weight is read.
    pub(super) fn check(&self, target: &Vocab) -> Result<()> {
        let DraftSource::Model(name) = &self.source else { return Ok(()) };
        let draft = OpenCheckpoint::open(name)?;
        let checked = Draft::check_vocab(target, &draft.vocab);
        checked.map(drop).map_err(|source| Error::Draft { name: name.clone(), source: Box::new(source) })
    }
}
