//! What is computed for some queries before their results are written.

use crate::cpu::{INPUTS, LANES};
use crate::integer::STEPS;

/// Keys whose values are added up before the next ones: they stay in the nearest cache.
pub(crate) const VALUE_BLOCK: usize = 64;

/// Memory for queries that are computed together.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[parts, Q]`, the last part padded with zeros.
    pub(crate) queries: Vec<[f32; LANES]>,
    /// `[Q, keys]`, each row in whole [`LANES`].
    pub(crate) scores: Vec<[f32; LANES]>,
    /// `[Q, parts]`.
    pub(crate) mixed: Vec<[f32; LANES]>,
    /// The queries in whole numbers, where keys are.
    pub(crate) query_codes: Vec<QueryCodes>,
    /// Of each query those of its parts.
    pub(crate) sums: Vec<f32>,
}

/// A group of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryCodes {
    pub(crate) steps: [[i8; INPUTS]; STEPS],
    pub(crate) scale: f32,
    /// What the sum of the products starts from where a level multiplies with codes that have no sign.
    pub(crate) start: i32,
}
