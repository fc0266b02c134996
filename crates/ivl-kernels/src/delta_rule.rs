//! The gated delta rule, position by position.

use crate::cpu::{Kernel, Level, run};
use crate::parallel_rows::parallel_map;

/// Added to the squared length of queries and keys before they are divided by it.
const EPS: f32 = 1e-6;

/// Multiplications from which on several threads are faster than one.
const PARALLEL_WORK: usize = 64 << 10;

/// The gated delta rule ([arXiv 2412.06464](https://arxiv.org/abs/2412.06464)). Each head keeps a matrix `S` that maps keys to values:
///
/// ```text
/// S = a S + b k (v - (a S)^T k)^T        output = S^T q / sqrt(key_dim)
/// ```
///
/// with queries and keys of length one, a decay `a` and a strength `b` of each position. A position costs the same however many came
/// before, and its output has the same bits whether positions are read at once or in pieces.
#[derive(Debug, Clone, Copy)]
pub struct GatedDeltaRule {
    /// Heads of queries and keys; divides `value_heads`.
    pub key_heads: usize,
    /// Heads of values, of which consecutive ones share a key head.
    pub value_heads: usize,
    /// Width of a query or key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
}

/// What the rule reads at each position.
#[derive(Debug, Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// Queries, keys and values, shape `[batch, seq, 2 * key_heads * key_dim + value_heads * value_dim]`.
    pub mixed: &'a [f32],
    /// `a`, shape `[batch, seq, value_heads]`.
    pub decay: &'a [f32],
    /// `b`, shape `[batch, seq, value_heads]`.
    pub strength: &'a [f32],
    /// Positions since the beginning of the text, where the state is empty; `None` in padding, which changes no state and gives
    /// zeros. Shape `[batch, seq]`.
    pub ages: &'a [Option<usize>],
}

impl GatedDeltaRule {
    /// Width of the queries, keys and values of a position.
    fn channels(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim
    }

    /// Reads positions of each row and brings its state up to date.
    ///
    /// # Shapes
    /// - `state`: `[batch, value_heads, key_dim, value_dim]`
    /// - output: `[batch, seq, value_heads * value_dim]`
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn run(&self, inputs: DeltaInputs<'_>, batch: usize, state: &mut [f32]) -> Vec<f32> {
        let Self { value_heads: heads, key_dim, value_dim, .. } = *self;
        let seq = inputs.ages.len() / batch.max(1);
        assert_eq!(
            inputs.mixed.len(),
            batch * seq * self.channels(),
            "a query, key and value for each position"
        );
        assert_eq!(inputs.decay.len(), batch * seq * heads, "a decay for each position and head");
        assert_eq!(inputs.strength.len(), inputs.decay.len(), "a strength for each position and head");
        assert_eq!(state.len(), batch * heads * key_dim * value_dim, "a matrix for each row and head");
        let mut read = vec![0.0; batch * heads * seq * value_dim];
        let parts = state.chunks_exact_mut(key_dim * value_dim).zip(read.chunks_exact_mut(seq * value_dim));
        let work = |unit: usize, part: &mut (&mut [f32], &mut [f32])| {
            let (state, read) = (&mut *part.0, &mut *part.1);
            run(DeltaHead {
                rule: self,
                inputs: &inputs,
                row: unit / heads,
                head: unit % heads,
                seq,
                state,
                read,
            });
        };
        if batch * seq * heads * key_dim * value_dim > PARALLEL_WORK {
            parallel_map(parts, work);
        } else {
            parts.enumerate().for_each(|(unit, mut part)| work(unit, &mut part));
        }
        let mut output = vec![0.0; read.len()];
        for (unit, read) in read.chunks_exact(seq * value_dim).enumerate() {
            let (row, head) = (unit / heads, unit % heads);
            for (position, read) in read.chunks_exact(value_dim).enumerate() {
                let at = ((row * seq + position) * heads + head) * value_dim;
                output[at..at + value_dim].copy_from_slice(read);
            }
        }
        output
    }
}

/// One head of one row.
struct DeltaHead<'a> {
    rule: &'a GatedDeltaRule,
    inputs: &'a DeltaInputs<'a>,
    row: usize,
    head: usize,
    seq: usize,
    /// Shape `[key_dim, value_dim]`.
    state: &'a mut [f32],
    /// Shape `[seq, value_dim]`.
    read: &'a mut [f32],
}

impl Kernel for DeltaHead<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let GatedDeltaRule { key_heads, value_heads, key_dim, value_dim } = *self.rule;
        let channels = self.rule.channels();
        let key_head = self.head / (value_heads / key_heads);
        let scale = (key_dim as f32).sqrt().recip();
        let (mut query, mut key) = (vec![0.0; key_dim], vec![0.0; key_dim]);
        let mut delta = vec![0.0; value_dim];
        for position in 0..self.seq {
            let place = self.row * self.seq + position;
            let Some(age) = self.inputs.ages[place] else { continue };
            if age == 0 {
                self.state.fill(0.0);
            }
            let mixed = &self.inputs.mixed[place * channels..][..channels];
            unit_length(&mixed[key_head * key_dim..][..key_dim], scale, &mut query);
            unit_length(&mixed[(key_heads + key_head) * key_dim..][..key_dim], 1.0, &mut key);
            let value = &mixed[2 * key_heads * key_dim + self.head * value_dim..][..value_dim];
            let decay = self.inputs.decay[place * value_heads + self.head];
            let strength = self.inputs.strength[place * value_heads + self.head];
            delta.fill(0.0);
            for (row, &key) in self.state.chunks_exact_mut(value_dim).zip(&key) {
                decay_and_recall::<L>(row, decay, key, &mut delta);
            }
            for column in 0..value_dim {
                delta[column] = strength * (value[column] - delta[column]);
            }
            let output = &mut self.read[position * value_dim..][..value_dim];
            for (row, (&key, &query)) in self.state.chunks_exact_mut(value_dim).zip(key.iter().zip(&query)) {
                correct_and_read::<L>(row, key, &delta, query, output);
            }
        }
    }
}

/// `scale * x / |x|`.
#[inline(always)]
fn unit_length(x: &[f32], scale: f32, unit: &mut [f32]) {
    let mut squares = 0.0;
    for &x in x {
        squares += x * x;
    }
    let factor = scale / (squares + EPS).sqrt();
    for index in 0..x.len() {
        unit[index] = x[index] * factor;
    }
}

/// A row of the state forgets, and adds its part of what the key recalls.
#[inline(always)]
fn decay_and_recall<L: Level>(row: &mut [f32], decay: f32, key: f32, recalled: &mut [f32]) {
    let recalled = &mut recalled[..row.len()];
    for column in 0..row.len() {
        row[column] *= decay;
        recalled[column] = L::fma_one(key, row[column], recalled[column]);
    }
}

/// A row of the state takes in the correction, and adds its part of what the query reads.
#[inline(always)]
fn correct_and_read<L: Level>(row: &mut [f32], key: f32, delta: &[f32], query: f32, read: &mut [f32]) {
    let (delta, read) = (&delta[..row.len()], &mut read[..row.len()]);
    for column in 0..row.len() {
        row[column] = L::fma_one(key, delta[column], row[column]);
        read[column] = L::fma_one(query, row[column], read[column]);
    }
}
