//! Base and value logits side by side, before they are added.

use std::ops::Range;

use burn::tensor::{DType, Int, Tensor};

use crate::neutral::fuse_some;
use crate::{Cache, CausalLm, fuse};

/// Logits of a base at some positions, and those of the values that are added to it.
#[derive(Debug, Clone)]
pub struct Parts {
    base: Tensor<2>,
    added: Vec<Added>,
}

/// What one value adds.
#[derive(Debug, Clone)]
struct Added {
    /// Brought to the base's ids.
    value: Tensor<2>,
    /// 1 where there is no value and the neutral one takes its place; `[1, vocab]` or as `value`.
    without: Option<Tensor<2>>,
    alpha: f64,
}

impl Parts {
    /// A base alone.
    pub(crate) fn new(base: Tensor<2>) -> Self {
        Self { base: base.cast(DType::F32), added: Vec::new() }
    }

    /// Adds a value; see [`Projection::add`](crate::Projection::add).
    #[must_use]
    pub(crate) fn with(mut self, value: Tensor<2>, without: Option<Tensor<2>>, alpha: f64) -> Self {
        self.added.push(Added { value, without, alpha });
        self
    }

    /// The base's own logits, in f32. Shape `[n, vocab]`.
    pub fn base(&self) -> Tensor<2> {
        self.base.clone()
    }

    /// `l = b + sum_i scale * alpha_i * M_i(v_i)` in f32, with the weights of the model that the parts are of: a scale of 1
    /// gives its own logits, 0 the base's. Shape `[n, vocab]`.
    pub fn fused(&self, scale: f64) -> Tensor<2> {
        self.added.iter().fold(self.base(), |fused, Added { value, without, alpha }| match without {
            Some(without) => fuse_some(fused, value.clone(), without.clone(), scale * alpha),
            None => fuse(fused, value.clone(), scale * alpha),
        })
    }
}

/// Parts at positions that were read, computed for the rows that are asked for.
pub type LazyParts<'a> = Box<dyn Fn(Range<usize>) -> Parts + 'a>;

/// A base with values whose logits can be had apart: one pass serves any number of weights.
pub trait Fusion: CausalLm {
    /// Like [`CausalLm::lazy_logits_at`], before anything is added.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - `positions`: `[n]`, indices into `batch * seq`, row-major
    fn lazy_parts_at(
        &self,
        tokens: Tensor<2, Int>,
        positions: Tensor<1, Int>,
        cache: &mut Cache,
    ) -> LazyParts<'_>;
}
