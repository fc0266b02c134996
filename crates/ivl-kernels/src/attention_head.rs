//! One key head of a row, in the forms in which a cache keeps it.

use std::ops::Range;

use crate::attention_products::{Stored, add_values, dot_products};
use crate::attention_scratch::Scratch;
use crate::cpu::{LANES, Level};

/// The keys and values of one row and key head; or those of all rows and heads, of which each is a part.
pub(crate) trait CachedHead: Copy + Sync {
    /// Positions of all heads that it has, free ones included.
    fn positions(self, dim: usize) -> usize;

    /// One head of several.
    fn head(self, index: usize, capacity: usize, dim: usize) -> Self;

    /// Products of `Q` queries with some keys, `K` at a time, to the scores; those after the last key are undefined.
    fn multiply_keys<L: Level, const Q: usize, const K: usize>(
        self,
        keys: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    );

    /// Adds the values of a block of the keys from `start` on, weighted by the scores of `Q` queries, to what they mix.
    fn add_values<L: Level, const Q: usize>(
        self,
        start: usize,
        block: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    );
}

/// Keys and values as floats.
#[derive(Clone, Copy)]
pub(crate) struct NumbersHead<'a, T> {
    pub(crate) keys: &'a [T],
    pub(crate) values: &'a [T],
}

impl<T: Stored> CachedHead for NumbersHead<'_, T> {
    fn positions(self, dim: usize) -> usize {
        self.keys.len() / dim
    }

    fn head(self, index: usize, capacity: usize, dim: usize) -> Self {
        let own = index * capacity * dim..(index + 1) * capacity * dim;
        Self { keys: &self.keys[own.clone()], values: &self.values[own] }
    }

    #[inline(always)]
    fn multiply_keys<L: Level, const Q: usize, const K: usize>(
        self,
        keys: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    ) {
        let keys = &self.keys[keys.start * dim..keys.end * dim];
        dot_products::<L, T, Q, K>(&scratch.queries, keys, dim, scratch.scores.as_flattened_mut());
    }

    #[inline(always)]
    fn add_values<L: Level, const Q: usize>(
        self,
        start: usize,
        block: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    ) {
        let (values, weights) = (&self.values[start * dim..], scratch.scores.as_flattened());
        let mixed = &mut scratch.mixed[..];
        let (parts, whole) = (dim.div_ceil(LANES), dim / LANES);
        for part in (0..whole - whole % 2).step_by(2) {
            add_values::<L, T, Q, 2>(weights, values, dim, block.clone(), part, mixed);
        }
        for part in whole - whole % 2..parts {
            add_values::<L, T, Q, 1>(weights, values, dim, block.clone(), part, mixed);
        }
    }
}
