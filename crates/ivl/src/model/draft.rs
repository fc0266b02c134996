//! Drafts for speculative decoding: tokens guessed ahead, which change no token that is written.

use ivl_core::decode::{Draft, GenerateConfig, Pace, Speculation, SpeculativeGeneration, speculate};

use super::Model;
use super::draft_options::{DraftOptions, DraftSource};
use ivl_models::Weights;

use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};
use crate::open_checkpoint::OpenCheckpoint;

impl Model {
    /// Loads what guesses ahead for this model.
    ///
    /// # Errors
    /// [`Error::Draft`] for a model of another vocabulary, and what opening it refuses.
    pub fn speculation(&self, options: &DraftOptions) -> Result<Speculation> {
        let draft = match &options.source {
            DraftSource::PromptLookup { ngram } => Draft::prompt_lookup(*ngram)?,
            DraftSource::Model(name) => {
                let draft = OpenCheckpoint::open(name)?;
                let lm = draft.load(None, &self.draft_placement(options, &draft)?, &self.options)?;
                Draft::model(Box::new(lm), self.vocab(), !options.without_values)
                    .map_err(|source| Error::Draft { name: name.clone(), source: Box::new(source) })?
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
        Ok(speculate(self.ungated_lm()?, speculation, prompts, &self.with_end_tokens(config))?)
    }

    fn draft_placement(&self, options: &DraftOptions, draft: &OpenCheckpoint) -> Result<Placement> {
        // Where the logits of the model are, with which drafts are compared.
        let place = self.placement.of_head(self.base.checkpoint.config().embedding.tied);
        let dtype = match (options.dtype, place.weights) {
            (Dtype::Auto, Weights::Tensors(_)) => self.options.dtype,
            (Dtype::Auto, _) if draft.checkpoint.tensors()?.has_blocks() => Dtype::Auto,
            (Dtype::Auto, _) => Dtype::Int8,
            (chosen, _) => chosen,
        };
        Placement::new(place.name(), dtype)
    }
}
