//! The contract of the project: tokens in, logits out.

mod info;
mod prefill;
mod prompt_batch;
mod select;

pub use info::{CacheBytes, LengthDependence, ModelInfo};
pub use prefill::prefill;
pub use prompt_batch::PromptBatch;
pub use select::{Positions, SelectedLogits};

use burn::tensor::{Device, Int, Tensor};

use crate::cache::Cache;
use crate::error::Error;
use crate::vocab::Vocab;

/// A next-token model: what an author of a model writes.
///
/// The first five methods are required. A model with a large vocabulary overrides
/// [`select_logits`](Self::select_logits), so that the head runs only at the positions that are wanted; a checkpoint
/// overrides [`info`](Self::info).
///
/// Object-safe on purpose: models are composed at run time. One virtual call per forward costs nanoseconds where the
/// forward costs milliseconds.
pub trait CausalLm: Send {
    /// The token of each logit.
    fn vocab(&self) -> &Vocab;

    /// The largest number of positions the model can read.
    fn max_positions(&self) -> usize;

    /// Where the model takes tokens and gives logits. Its layers may be on other devices, too.
    fn device(&self) -> Device;

    /// An empty cache for a batch of `padding.len()` rows; row `r` will start with `padding[r]` tokens to be ignored
    /// (left padding, so that prompts of different lengths end together).
    fn new_cache(&self, padding: &[usize]) -> Cache;

    /// Reads tokens after those in the cache and returns the logits at every new position.
    ///
    /// With an empty cache this is the pass over a whole sequence, as in training.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, vocab]`
    ///
    /// # Errors
    /// [`Error::ForeignCache`] for the cache of another model ([`Cache::layers`] finds it).
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error>;

    /// Reads tokens like [`forward`](Self::forward), for the logits at some of the new positions. The head runs when
    /// [`SelectedLogits::rows`] needs them: all logits of a batch at a vocabulary of a hundred thousand are gigabytes.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        Ok(SelectedLogits::new(at.select(self.forward(tokens, cache)?)))
    }

    /// The logits after the last of the new tokens.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, vocab]`
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<2>, Error> {
        Ok(self.select_logits(tokens, Positions::Last, cache)?.all())
    }

    /// Name, dependence on the length of the text, and bytes of cache.
    fn info(&self) -> ModelInfo {
        ModelInfo::default()
    }
}
