//! The contract of a value that reads a base's predictions.

use burn::tensor::{Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::ModelInfo;
use crate::error::Error;
use crate::vocab::Vocab;

/// A network that reads a base's predictions, with the text or without it.
///
/// The counterpart of [`CausalLm`](crate::CausalLm) for the cascade connection of the paper; [`CascadeLm`](crate::fusion::CascadeLm) joins one to a base.
pub trait CascadeValue: Send {
    /// The token of each logit.
    fn vocab(&self) -> &Vocab;

    /// The largest number of tokens it can read.
    fn max_positions(&self) -> usize;

    /// Where it computes.
    fn device(&self) -> Device;

    /// An empty cache; see [`CausalLm::new_cache`](crate::CausalLm::new_cache).
    fn new_cache(&self, padding: &[usize]) -> Cache;

    /// Reads tokens, and what the base predicts after each, and returns logits for the same next tokens.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - `predicted`: `[batch, seq, vocab]`, probabilities over this network's ids
    /// - output: `[batch, seq, vocab]`
    ///
    /// # Errors
    /// [`Error::ForeignCache`] for the cache of another model.
    fn forward(
        &self,
        tokens: Tensor<2, Int>,
        predicted: Tensor<3>,
        cache: &mut Cache,
    ) -> Result<Tensor<3>, Error>;

    /// See [`CausalLm::info`](crate::CausalLm::info).
    fn info(&self) -> ModelInfo;
}
