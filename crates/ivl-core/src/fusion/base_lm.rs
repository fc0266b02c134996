//! The base of a fusion: a plain causal LM, or one that has values already.

use burn::tensor::{DType, Device, Int, Tensor};

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, ModelInfo, Positions, SelectedLogits};
use crate::error::Error;
use crate::fusion::{
    CumulativeLogits, IndependentValues, RowBytes, RowWeighted, RowWeights, SelectedComponents, ValueStack,
    check_alpha,
};
use crate::vocab::Vocab;

/// A base: a plain causal LM, or a stack of a base and values. It is itself a [`RowWeighted`] stack; a plain model has no
/// values.
pub enum BaseLm {
    /// A model without values.
    Plain(Box<dyn CausalLm>),
    /// A model with values, which stay visible: they come before those that are added.
    Stack(Box<dyn RowWeighted>),
}

impl BaseLm {
    /// A model without values.
    pub fn plain(lm: impl CausalLm + 'static) -> Self {
        Self::Plain(Box::new(lm))
    }

    /// A model with values.
    pub fn stack(lm: impl RowWeighted + 'static) -> Self {
        Self::Stack(Box::new(lm))
    }

    /// [`ValueStack::set_alpha`] of a model that adds one value to this base; `own` is its weight.
    pub(crate) fn set_alpha_above(&mut self, own: &mut f64, value: usize, alpha: f64) -> Result<(), Error> {
        if value != self.num_values() {
            return self.set_alpha(value, alpha);
        }
        check_alpha(alpha)?;
        *own = alpha;
        Ok(())
    }

    fn as_lm(&self) -> &dyn CausalLm {
        match self {
            Self::Plain(lm) => &**lm,
            Self::Stack(lm) => &**lm,
        }
    }
}

impl From<Box<dyn CausalLm>> for BaseLm {
    fn from(lm: Box<dyn CausalLm>) -> Self {
        Self::Plain(lm)
    }
}

impl From<Box<dyn RowWeighted>> for BaseLm {
    fn from(lm: Box<dyn RowWeighted>) -> Self {
        Self::Stack(lm)
    }
}

impl CausalLm for BaseLm {
    fn vocab(&self) -> &Vocab {
        self.as_lm().vocab()
    }

    fn max_positions(&self) -> usize {
        self.as_lm().max_positions()
    }

    fn device(&self) -> Device {
        self.as_lm().device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.as_lm().new_cache(padding)
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        self.as_lm().forward(tokens, cache)
    }

    fn select_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedLogits<'_>, Error> {
        self.as_lm().select_logits(tokens, at, cache)
    }

    fn info(&self) -> ModelInfo {
        self.as_lm().info()
    }
}

impl ValueStack for BaseLm {
    fn alphas(&self) -> Vec<f64> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Stack(lm) => lm.alphas(),
        }
    }

    fn set_alpha(&mut self, value: usize, alpha: f64) -> Result<(), Error> {
        match self {
            Self::Plain(_) => Err(Error::InvalidSetting {
                name: "value",
                expected: "the index of an attached value",
                got: format!("{value} of 0"),
            }),
            Self::Stack(lm) => lm.set_alpha(value, alpha),
        }
    }

    fn component_logits(
        &self,
        tokens: Tensor<2, Int>,
        at: Positions<'_>,
        cache: &mut Cache,
    ) -> Result<SelectedComponents<'_>, Error> {
        match self {
            Self::Plain(lm) => Ok(SelectedComponents::of_base(lm.select_logits(tokens, at, cache)?)),
            Self::Stack(lm) => lm.component_logits(tokens, at, cache),
        }
    }
}

impl RowWeighted for BaseLm {
    fn forward_rows(
        &self,
        tokens: Tensor<2, Int>,
        rows: RowWeights<'_>,
        cache: &mut Cache,
    ) -> Result<CumulativeLogits, Error> {
        match self {
            Self::Plain(lm) => Ok(CumulativeLogits::new(rows.logits(&**lm, tokens, cache)?.cast(DType::F32))),
            Self::Stack(lm) => lm.forward_rows(tokens, rows, cache),
        }
    }

    fn num_cascade_values(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Stack(lm) => lm.num_cascade_values(),
        }
    }

    fn row_bytes(&self) -> RowBytes {
        match self {
            Self::Plain(lm) => RowBytes::new(lm.info().cache_bytes),
            Self::Stack(lm) => lm.row_bytes(),
        }
    }

    fn independent_values(&self) -> Option<&dyn IndependentValues> {
        match self {
            Self::Plain(_) => None,
            Self::Stack(lm) => lm.independent_values(),
        }
    }
}
