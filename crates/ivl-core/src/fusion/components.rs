//! The logits of a base and of its values side by side, before they are added.

use std::ops::Range;

use burn::tensor::{DType, Int, Tensor};

use crate::causal_lm::SelectedLogits;
use crate::fusion::learned_gate::features;
use crate::fusion::{GatedProjection, MappedLogits};

/// Logits of a base at some positions, and what its values add to them:
///
/// ```text
/// l = b + sum_i w_i M_i(v_i)
/// ```
///
/// in f32, with the model's own weights `w_i` or with others: one pass serves any number of weights. The term of a value with a
/// [`LearnedGate`](crate::fusion::LearnedGate) is `w_i g_i M_i(v_i)`; its gate reads `b`, whatever the weights. Values are in the
/// order of [`ValueStack::alphas`](crate::ValueStack::alphas). A value fused over bytes is no sum; its term is the advantage that
/// its own weight gives, counted once ([`ByteFusedLm`](crate::cross_tokenizer::ByteFusedLm)). A cascade value reads what the
/// model's own weights predict ([`CascadeLm`](crate::fusion::CascadeLm)).
#[derive(Debug, Clone)]
pub struct LogitComponents {
    base: Tensor<2>,
    /// `None` for a value that adds nothing at any of the positions.
    values: Vec<Option<Added>>,
}

/// The term of one value.
#[derive(Debug, Clone)]
struct Added {
    /// Shape `[n, vocab]`.
    logits: MappedLogits<2>,
    weight: f64,
}

impl LogitComponents {
    /// Logits to which nothing is added. Shape `[n, vocab]`.
    pub fn new(base: Tensor<2>) -> Self {
        Self { base: base.cast(DType::F32), values: Vec::new() }
    }

    /// Adds the term of a value, as [`GatedProjection::term`] gives it.
    #[must_use]
    pub(crate) fn with(mut self, logits: MappedLogits<2>, weight: f64) -> Self {
        self.values.push(Some(Added { logits, weight }));
        self
    }

    /// Adds values that change no logit.
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
        self.values.iter().flatten().fold(self.base(), |fused, value| value.logits.onto(fused, value.weight))
    }

    /// Base and values with other weights, one for each value. Shape `[n, vocab]`.
    ///
    /// # Panics
    /// If there is another number of weights than of values.
    pub fn weighted(&self, weights: &[f64]) -> Tensor<2> {
        assert_eq!(weights.len(), self.values.len(), "there is a weight for each value");
        let values = self.values.iter().zip(weights);
        let values = values.filter_map(|(value, &weight)| Some((value.as_ref()?, weight)));
        values.fold(self.base(), |fused, (value, weight)| value.logits.onto(fused, weight))
    }

    /// What a [`LearnedGate`](crate::fusion::LearnedGate) reads of the base and one value without a gate, in the order of
    /// [`LearnedGate::FEATURES`](crate::fusion::LearnedGate::FEATURES). `None` if the value adds nothing, or there is no such value.
    /// Shape `[n, 8]`.
    pub fn gate_features(&self, value: usize) -> Option<Tensor<2>> {
        Some(features(&self.base, &self.values.get(value)?.as_ref()?.logits))
    }

    /// The logits of the base, then with the first value, with the first two, and so on, each with its own weight. Shape
    /// `[n, vocab]` each.
    pub fn cumulative_logits(&self) -> Vec<Tensor<2>> {
        let mut all = Vec::with_capacity(self.values.len() + 1);
        let mut fused = self.base();
        for value in &self.values {
            all.push(fused.clone());
            if let Some(value) = value {
                fused = value.logits.onto(fused, value.weight);
            }
        }
        all.push(fused);
        all
    }

    /// Rows in another order. Shape of `order`: `[m]`.
    #[must_use]
    pub(crate) fn select(&self, order: &Tensor<1, Int>) -> Self {
        self.each(|logits| logits.select(0, order.clone()))
    }

    /// A range of rows.
    #[must_use]
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        if rows == (0..self.base.dims()[0]) {
            return self.clone();
        }
        self.each(|logits| logits.slice([rows.clone()]))
    }

    fn each(&self, rows: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        let value = |added: &Added| Added { logits: added.logits.rows(&rows), weight: added.weight };
        let values = self.values.iter().map(|added| added.as_ref().map(value)).collect();
        Self { base: rows(self.base.clone()), values }
    }
}

/// [`LogitComponents`] at positions that were read, computed for the requested rows.
pub struct SelectedComponents<'a> {
    base: Base<'a>,
    values: Vec<SelectedValue<'a>>,
}

enum Base<'a> {
    /// Of a model without values.
    Logits(SelectedLogits<'a>),
    /// Computed already.
    Components(LogitComponents),
}

/// The logits of one network over its own ids.
struct SelectedValue<'a> {
    logits: SelectedLogits<'a>,
    projection: &'a GatedProjection,
    weight: f64,
}

impl<'a> SelectedComponents<'a> {
    /// Components that are there already.
    pub fn new(components: LogitComponents) -> Self {
        Self { base: Base::Components(components), values: Vec::new() }
    }

    /// The logits of a base to which nothing is added.
    pub fn of_base(logits: SelectedLogits<'a>) -> Self {
        Self { base: Base::Logits(logits), values: Vec::new() }
    }

    /// Adds a value.
    #[must_use]
    pub(crate) fn with(
        mut self,
        logits: SelectedLogits<'a>,
        projection: &'a GatedProjection,
        weight: f64,
    ) -> Self {
        self.values.push(SelectedValue { logits, projection, weight });
        self
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        match &self.base {
            Base::Logits(logits) => logits.len(),
            Base::Components(components) => components.base.dims()[0],
        }
    }

    /// Whether no position was selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The components of a range of the positions, `[rows, vocab]` each.
    pub fn rows(&self, rows: Range<usize>) -> LogitComponents {
        let base = match &self.base {
            Base::Logits(logits) => LogitComponents::new(logits.rows(rows.clone())),
            Base::Components(components) => components.slice(rows.clone()),
        };
        self.values.iter().fold(base, |components, value| {
            let logits = value.projection.rows(value.logits.rows(rows.clone()));
            let term = value.projection.term(&components.base, logits);
            components.with(term, value.weight)
        })
    }

    /// The components of all positions.
    pub(crate) fn all(self) -> LogitComponents {
        self.rows(0..self.len())
    }

    /// The sums of the components, in f32.
    pub(crate) fn into_logits(self) -> SelectedLogits<'a> {
        SelectedLogits::computed(self.len(), move |rows| self.rows(rows).fused())
    }
}
