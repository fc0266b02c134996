//! How the logits of a value become the term that is added.

use burn::tensor::{DType, Int, Tensor};

use crate::fusion::mapped_logits::MappedLogits;
use crate::fusion::{LearnedGate, VocabProjection};

/// A vocabulary map on a device, and the [`LearnedGate`] of the value, if it has one. Every place that adds a value takes its term
/// from here: `M(v)` without a gate, `g(b, v) M(v)` with one.
#[derive(Debug, Clone)]
pub(crate) struct GatedProjection {
    projection: VocabProjection,
    gate: Option<LearnedGate>,
}

impl GatedProjection {
    /// A map with a gate, if there is one.
    pub(crate) fn new(projection: VocabProjection, gate: Option<LearnedGate>) -> Self {
        Self { projection, gate }
    }

    /// Whether the term depends on the base's logits.
    pub(crate) fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// [`VocabProjection::tokens`].
    pub(crate) fn tokens(&self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        self.projection.tokens(tokens)
    }

    /// [`VocabProjection::logits`].
    pub(crate) fn logits(&self, value: Tensor<3>) -> Tensor<3> {
        self.projection.logits(value)
    }

    /// [`VocabProjection::rows`].
    pub(crate) fn rows(&self, value: Tensor<2>) -> Tensor<2> {
        self.projection.rows(value)
    }

    /// The term of a value, before its weight.
    ///
    /// # Shapes
    /// - `base`: `[.., base_vocab]`, the logits of the base without any value, in f32
    /// - `mapped` and output: the same, from [`logits`](Self::logits) or [`rows`](Self::rows)
    pub(crate) fn term<const D: usize>(&self, base: &Tensor<D>, mapped: Tensor<D>) -> MappedLogits<D> {
        let mapped = self.projection.split(mapped);
        match &self.gate {
            Some(gate) => gate.apply(base, mapped),
            None => mapped,
        }
    }

    /// [`VocabProjection::add`], for a value without a gate.
    pub(crate) fn add_ungated(&self, fused: Tensor<3>, mapped: Tensor<3>, alpha: f64) -> Tensor<3> {
        debug_assert!(!self.has_gate(), "a gate reads the logits of the base without any value");
        self.projection.add(fused, mapped, alpha)
    }

    /// Adds the term of a value at a weight; at weight 0 the result is `fused` to the last bit.
    ///
    /// # Shapes
    /// - `base` and `mapped`: as in [`term`](Self::term)
    /// - `fused`: the same, to which the term is added: the base's logits and the terms of other values
    /// - output: the same, in f32
    pub(crate) fn add<const D: usize>(
        &self,
        base: &Tensor<D>,
        fused: Tensor<D>,
        mapped: Tensor<D>,
        alpha: f64,
    ) -> Tensor<D> {
        if alpha == 0.0 {
            return fused.cast(DType::F32);
        }
        self.term(base, mapped).onto(fused, alpha)
    }
}
