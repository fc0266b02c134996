//! The target of speculative decoding: its base, and the values that can read drafted tokens before the base does.

use burn::tensor::{Device, Int, Tensor};

use crate::error::Error;
use crate::fusion::{CumulativeLogits, DecodeBatch, IndependentValues, LogitsAt, RowWeighted, ValueRows};

/// A target, seen as a base and values that read nothing but tokens. A target of another kind is all base.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    lm: &'a dyn RowWeighted,
    independent: Option<&'a dyn IndependentValues>,
}

impl<'a> Target<'a> {
    pub(super) fn new(lm: &'a dyn RowWeighted) -> Self {
        Self { lm, independent: lm.independent_values() }
    }

    pub(super) fn device(self) -> Device {
        self.lm.device()
    }

    /// The base's logits for new tokens.
    pub(super) fn base_rows(
        self,
        tokens: Tensor<2, Int>,
        batch: &mut DecodeBatch,
    ) -> Result<CumulativeLogits, Error> {
        match self.independent {
            Some(target) => {
                let (rows, cache) = batch.parts(LogitsAt::All);
                target.base_rows(tokens, rows, cache)
            }
            None => batch.forward(self.lm, tokens),
        }
    }

    /// The logits of each value for new tokens, without its weight.
    pub(super) fn value_rows(
        self,
        tokens: &Tensor<2, Int>,
        batch: &mut DecodeBatch,
    ) -> Result<ValueRows, Error> {
        match self.independent {
            Some(target) => {
                let (rows, cache) = batch.parts(LogitsAt::All);
                target.value_rows(tokens, rows, cache)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Adds what the values gave to logits of a base.
    pub(super) fn add_rows(
        self,
        base: CumulativeLogits,
        values: &ValueRows,
        batch: &DecodeBatch,
    ) -> CumulativeLogits {
        match self.independent {
            Some(target) => target.add_rows(base, values, batch.row_weights()),
            None => base,
        }
    }
}
