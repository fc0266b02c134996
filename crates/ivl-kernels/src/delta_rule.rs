//! The gated delta rule, position by position.

use std::ops::Range;

use crate::cpu::{Kernel, Level, run};
use crate::parallel_rows::parallel_map;

/// Added to the squared length of queries and keys before they are divided by it.
const EPS: f32 = 1e-6;

/// Multiplications from which on several threads are faster than one.
const PARALLEL_WORK: usize = 64 << 10;

/// Columns of a state that are computed together: what they recall stays in registers.
const TILE: usize = 32;

/// Columns that are computed together where there are fewer.
const SMALL_TILE: usize = 8;

/// Positions that are read before the next columns.
const BLOCK: usize = 64;

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
    fn run<L: Level>(mut self) {
        let key_dim = self.rule.key_dim;
        let scale = (key_dim as f32).sqrt().recip();
        let mut units = vec![0.0; 2 * key_dim * BLOCK.min(self.seq)];
        let mut tile = vec![0.0; key_dim * TILE];
        for start in (0..self.seq).step_by(BLOCK) {
            let positions = start..(start + BLOCK).min(self.seq);
            for (position, units) in positions.clone().zip(units.chunks_exact_mut(2 * key_dim)) {
                let (query, key) = units.split_at_mut(key_dim);
                let [own_query, own_key] = self.query_and_key(position);
                unit_length(own_query, scale, query);
                unit_length(own_key, 1.0, key);
            }
            self.read_columns::<L>(positions, &units, &mut tile);
        }
    }
}

impl DeltaHead<'_> {
    fn mixed(&self, position: usize) -> &[f32] {
        let channels = self.rule.channels();
        &self.inputs.mixed[(self.row * self.seq + position) * channels..][..channels]
    }

    fn query_and_key(&self, position: usize) -> [&[f32]; 2] {
        let GatedDeltaRule { key_heads, value_heads, key_dim, .. } = *self.rule;
        let key_head = self.head / (value_heads / key_heads);
        let mixed = self.mixed(position);
        [key_head, key_heads + key_head].map(|head| &mixed[head * key_dim..][..key_dim])
    }

    /// Reads some positions, some columns of values at a time: they do not depend on each other.
    #[inline(always)]
    fn read_columns<L: Level>(&mut self, positions: Range<usize>, units: &[f32], tile: &mut [f32]) {
        let width = self.rule.value_dim;
        let mut column = 0;
        while column < width {
            column += match width - column {
                TILE.. => self.read_tile::<L, TILE>(positions.clone(), column, units, tile),
                SMALL_TILE.. => self.read_tile::<L, SMALL_TILE>(positions.clone(), column, units, tile),
                _ => self.read_tile::<L, 1>(positions.clone(), column, units, tile),
            };
        }
    }

    /// Reads `N` columns from `column` on, and gives their number. Several positions find them side by side in `tile`.
    #[inline(always)]
    fn read_tile<L: Level, const N: usize>(
        &mut self,
        positions: Range<usize>,
        column: usize,
        units: &[f32],
        tile: &mut [f32],
    ) -> usize {
        let width = self.rule.value_dim;
        if positions.len() == 1 {
            let state = std::mem::take(&mut self.state);
            self.read_rows::<L, N>(positions, column, units, &mut state[column..], width);
            self.state = state;
            return N;
        }
        for (own, row) in tile.chunks_exact_mut(N).zip(self.state.chunks_exact(width)) {
            own.copy_from_slice(&row[column..column + N]);
        }
        self.read_rows::<L, N>(positions, column, units, tile, N);
        for (own, row) in tile.chunks_exact(N).zip(self.state.chunks_exact_mut(width)) {
            row[column..column + N].copy_from_slice(own);
        }
        N
    }

    /// Reads `N` columns of the state, whose rows are `stride` numbers apart.
    #[inline(always)]
    fn read_rows<L: Level, const N: usize>(
        &mut self,
        positions: Range<usize>,
        column: usize,
        units: &[f32],
        state: &mut [f32],
        stride: usize,
    ) {
        let GatedDeltaRule { key_heads, value_heads, key_dim, value_dim } = *self.rule;
        let values = 2 * key_heads * key_dim + self.head * value_dim + column;
        for (position, units) in positions.zip(units.chunks_exact(2 * key_dim)) {
            let place = self.row * self.seq + position;
            let Some(age) = self.inputs.ages[place] else { continue };
            if age == 0 {
                (0..key_dim).for_each(|row| state[row * stride..row * stride + N].fill(0.0));
            }
            let gates = place * value_heads + self.head;
            let (decay, strength) = (self.inputs.decay[gates], self.inputs.strength[gates]);
            let (query, key) = units.split_at(key_dim);
            let value: &[f32; N] =
                self.mixed(position)[values..].first_chunk().expect("a value of each head");
            let recalled = recall::<L, N>(state, stride, decay, key);
            let mut delta = [0.0; N];
            for at in 0..N {
                delta[at] = strength * (value[at] - recalled[at]);
            }
            let read = correct_and_read::<L, N>(state, stride, decay, [key, query], &delta);
            self.read[position * value_dim + column..][..N].copy_from_slice(&read);
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

/// What a key recalls of the state after it has forgotten a part of itself.
#[inline(always)]
fn recall<L: Level, const N: usize>(state: &[f32], stride: usize, decay: f32, key: &[f32]) -> [f32; N] {
    let mut recalled = [0.0; N];
    for (row, &key) in key.iter().enumerate() {
        let row: &[f32; N] = state[row * stride..].first_chunk().expect("a row for each number of a key");
        for at in 0..N {
            recalled[at] = L::fma_one(key, decay * row[at], recalled[at]);
        }
    }
    recalled
}

/// The state forgets a part of itself and takes in the correction; what the query then reads.
#[inline(always)]
fn correct_and_read<L: Level, const N: usize>(
    state: &mut [f32],
    stride: usize,
    decay: f32,
    [key, query]: [&[f32]; 2],
    delta: &[f32; N],
) -> [f32; N] {
    let mut read = [0.0; N];
    for (row, (&key, &query)) in key.iter().zip(query).enumerate() {
        let row: &mut [f32; N] =
            state[row * stride..].first_chunk_mut().expect("a row for each number of a key");
        for at in 0..N {
            row[at] = L::fma_one(key, delta[at], decay * row[at]);
            read[at] = L::fma_one(query, row[at], read[at]);
        }
    }
    read
}
