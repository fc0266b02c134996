//! Drafts for speculative decoding: tokens guessed ahead, which change no token that is written.

use ivl_core::decode::{Draft, GenerateConfig, Pace, Speculation, SpeculativeGeneration, speculate};

use super::Model;
use ivl_models::Weights;

use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

/// What guesses tokens ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DraftSource {
    /// A smaller base of the same vocabulary: a directory or hub name.
    Model(String),
    /// What followed the last so many tokens earlier in the text.
    PromptLookup {
        /// How many.
        ngram: usize,
    },
}

/// How tokens are guessed ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DraftOptions {
    /// What guesses.
    pub source: DraftSource,
    /// The type of a draft model's weights. [`Dtype::Auto`] is int8 on a CPU, since guesses may be wrong, and the type of
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
}

impl Model {
    /// Loads what guesses ahead for this model.
    ///
    /// # Errors
    /// [`Error::Draft`] for a model of another vocabulary, and what opening it refuses.
    pub fn speculation(&self, options: &DraftOptions) -> Result<Speculation> {
        let draft = match &options.source {
            DraftSource::PromptLookup { ngram } => Draft::prompt_lookup(*ngram)?,
            DraftSource::Model(name) => {
                let placement = self.draft_placement(options)?;
                let lm = OpenCheckpoint::open(name)?.load(None, &placement, &self.options)?;
                Draft::model(Box::new(lm), self.vocab(), !options.without_values)
                    .map_err(|source| Error::Draft { name: name.clone(), source })?
            }
        };
        Ok(Speculation::new(draft, Pace::up_to(options.max_tokens)))
    }

    /// Continues prompts in tokens, with drafts.
    ///
    /// # Errors
    /// As [`ivl_core::decode::speculate`].
    pub fn speculate<'a, S: AsRef<[u32]>>(
        &'a self,
        speculation: Speculation,
        prompts: &[S],
        config: &GenerateConfig,
    ) -> Result<SpeculativeGeneration<'a>> {
        Ok(speculate(self.ungated_lm()?, speculation, prompts, config)?)
    }

    fn draft_placement(&self, options: &DraftOptions) -> Result<Placement> {
        let dtype = match (options.dtype, self.placement.weights) {
            (Dtype::Auto, Weights::Packed(_)) => Dtype::Int8,
            (Dtype::Auto, Weights::Tensors(_)) => self.options.dtype,
            (chosen, _) => chosen,
        };
        Placement::new(&self.options.device, dtype)
    }
}
