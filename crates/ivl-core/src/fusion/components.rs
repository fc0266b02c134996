//! The logits of a base and of its values side by side, before they are added.

use std::ops::Range;

use burn::tensor::{DType, Int, Tensor};

use crate::fusion::unmapped::fuse_some;

/// Logits of a base at some positions, and what its values add to them:
///
/// ```text
/// l = b + sum_i w_i M_i(v_i)
/// ```
///
/// in f32, with the model's own weights `w_i` or with others: one pass serves any number of weights. Values are in the order
/// of [`CausalLm::values`](crate::CausalLm::values). A value fused over bytes is no sum; its term is the advantage that its own
/// weight gives, counted once ([`ByteFusedLm`](crate::cross_tokenizer::ByteFusedLm)). What a cascade value reads is what the model's own
/// weights predict ([`CascadeLm`](crate::fusion::CascadeLm)).
#[derive(Debug, Clone)]
pub struct LogitComponents {
    base: Tensor<2>,
    /// None for a value that says nothing at any of the positions.
    values: Vec<Option<Added>>,
}

/// What one value adds.
#[derive(Debug, Clone)]
struct Added {
    /// Brought to the base's ids.
    value: Tensor<2>,
    /// 1 where there is no value and the neutral one takes its place; `[1, vocab]` or as `value`.
    without: Option<Tensor<2>>,
    weight: f64,
}

impl LogitComponents {
    /// Logits to which nothing is added. Shape `[n, vocab]`.
    pub fn new(base: Tensor<2>) -> Self {
        Self { base: base.cast(DType::F32), values: Vec::new() }
    }

    /// Adds a value as [`VocabProjection::apart`](crate::vocab::VocabProjection) gives it: brought to the base's ids, and 1 where it says
    /// nothing.
    #[must_use]
    pub(crate) fn with(mut self, (value, without): (Tensor<2>, Option<Tensor<2>>), weight: f64) -> Self {
        self.values.push(Some(Added { value, without, weight }));
        self
    }

    /// Adds values that say nothing.
    #[must_use]
    pub(crate) fn with_silent(mut self, values: usize) -> Self {
        self.values.extend(std::iter::repeat_n(None, values));
        self
    }

    /// The base's own logits. Shape `[n, vocab]`.
    pub fn base(&self) -> Tensor<2> {
        self.base.clone()
    }

    /// Base and values with their own weights: the model's logits. Shape `[n, vocab]`.
    pub fn fused(&self) -> Tensor<2> {
        self.values.iter().flatten().fold(self.base(), |fused, value| value.onto(fused, value.weight))
    }

    /// Base and values with other weights, one for each value. Shape `[n, vocab]`.
    ///
    /// # Panics
    /// If there is another number of weights than of values.
    pub fn weighted(&self, weights: &[f64]) -> Tensor<2> {
        assert_eq!(weights.len(), self.values.len(), "there is a weight for each value");
        let values = self.values.iter().zip(weights);
        let values = values.filter_map(|(value, &weight)| Some((value.as_ref()?, weight)));
        values.fold(self.base(), |fused, (value, weight)| value.onto(fused, weight))
    }

    /// The base alone, then with the first value, with the first two, and so on, each with its own weight. Shape
    /// `[n, vocab]` each.
    pub fn stages(&self) -> Vec<Tensor<2>> {
        let mut stages = vec![self.base()];
        for value in &self.values {
            let before = stages[stages.len() - 1].clone();
            stages.push(match value {
                Some(value) => value.onto(before, value.weight),
                None => before,
            });
        }
        stages
    }

    /// RowWeights in another order. Shape of `order`: `[m]`.
    #[must_use]
    pub(crate) fn select(&self, order: &Tensor<1, Int>) -> Self {
        self.each(|logits| logits.select(0, order.clone()))
    }

    /// A range of rows.
    #[must_use]
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        self.each(|logits| logits.slice([rows.clone()]))
    }

    fn each(&self, rows: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        let count = self.base.dims()[0];
        // One row may stand for all.
        let own = |without: &Tensor<2>| match without.dims()[0] == count {
            true => rows(without.clone()),
            false => without.clone(),
        };
        let value = |added: &Added| Added {
            value: rows(added.value.clone()),
            without: added.without.as_ref().map(own),
            weight: added.weight,
        };
        let values = self.values.iter().map(|added| added.as_ref().map(value)).collect();
        Self { base: rows(self.base.clone()), values }
    }
}

impl Added {
    fn onto(&self, logits: Tensor<2>, weight: f64) -> Tensor<2> {
        fuse_some(logits, self.value.clone(), self.without.clone(), weight)
    }
}
