//! The contracts of a base with values, beyond those of a causal LM.

use burn::tensor::{Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, Positions};
use crate::error::Error;
use crate::fusion::{CumulativeLogits, RowBytes, RowWeights, SelectedComponents};

/// A base with values that are seen apart: each has a weight, and logits are known with and without it.
pub trait ValueStack: CausalLm {
    /// The weight of each value. The values of a base that has some itself come first.
    fn alphas(&self) -> Vec<f64>;

    /// Number of values.
    fn num_values(&self) -> usize {
        self.alphas().len()
    }

    /// Changes the weight of a value. What was read before stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if there is no such value or alpha is not finite.
    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error>;

    /// Reads tokens like [`CausalLm::select_logits`], for the logits of the base and of each value.
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error>;
}

/// A [`ValueStack`] that reads rows with weights of their own: what a server and speculative decoding need.
///
/// [`GatedLm`](crate::fusion::GatedLm) does not implement it: the values of different rows lag differently.
pub trait RowWeighted: ValueStack {
    /// Reads tokens of the rows of a [`DecodeBatch`](crate::fusion::DecodeBatch). A value reads the rows that take it and
    /// no others: its part of the cache holds only those.
    ///
    /// # Shapes
    /// - `tokens`: `[rows, seq]`
    /// - output: the logits of the base, then with the first value, and so on, at the positions that the rows want
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    fn forward_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error>;

    /// The number of leading values whose weight changes the input of later values: those read predictions. A cache is
    /// valid only for the weights of these values under which it was read.
    fn num_cascade_values(&self) -> usize;

    /// Bytes of cache that one position of a row takes.
    fn row_bytes(&self) -> RowBytes;

    /// The model as a stack whose values read nothing but tokens, if it is one.
    fn independent_values(&self) -> Option<&dyn IndependentValues>;
}

/// A [`RowWeighted`] stack whose values read nothing but tokens: they can read drafted tokens before the base does.
/// [`RowWeighted::forward_rows`] is `add_rows(base_rows(..), value_rows(..))`.
pub trait IndependentValues {
    /// The base's logits for new tokens, with the values that it has itself.
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    fn base_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error>;

    /// The logits of each value for new tokens of the rows that take it, without its weight.
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    fn value_rows(
        &self,
        tokens: &Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<ValueRows, Error>;

    /// Adds what the values gave to the logits of a base, each row with its weights. The output begins with those of the base.
    ///
    /// # Shapes
    /// - `base`: `[rows, positions, vocab]`, at the positions of `values`
    fn add_rows(&self, base: CumulativeLogits, values: &ValueRows, rows: RowWeights<'_>) -> CumulativeLogits;
}

/// The logits of each value for the base's tokens, `[readers, positions, vocab]`; `None` for one that no row takes.
pub type ValueRows = Vec<Option<Tensor<3>>>;

pub(crate) fn check_alpha(alpha: f64) -> Result<(), Error> {
    if alpha.is_finite() {
        return Ok(());
    }
    Err(Error::InvalidSetting { name: "alpha", expected: "a finite number", got: alpha.to_string() })
}
