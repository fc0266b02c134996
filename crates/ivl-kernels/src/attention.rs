//! GroupedQueryAttention over keys and values where they lie.

use std::ops::Range;

use crate::cpu::{Kernel, LANES, Level, each, padded, run, sum};
use crate::disjoint::DisjointSlice;
use crate::exp::exp;
use crate::parallel;

/// Positions of a unit of work. They read the same keys and values while these are in a near cache.
const TILE_POSITIONS: usize = 16;

/// Queries that are computed together: each key is then read once for all of them.
const QUERIES_AT_ONCE: usize = 4;

/// Keys whose values are added up before the next ones: they stay in the nearest cache.
const VALUE_BLOCK: usize = 64;

/// Multiplications from which on several threads are faster than one.
const PARALLEL_WORK: usize = 64 << 10;

/// `softmax(scale * Q K^T) V`, where consecutive query heads may share a key head.
#[derive(Debug, Clone, Copy)]
pub struct GroupedQueryAttention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of each head.
    pub dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A score of each query head that takes its share of the weights and has no value. It is neither scaled nor capped.
    pub sinks: Option<&'a [f32]>,
}

impl GroupedQueryAttention<'_> {
    /// Writes new keys (or values) after the first `len` of each row of a buffer.
    ///
    /// # Shapes
    /// - `buffer`: `[batch, kv_heads, capacity, dim]`
    /// - `new`: `[batch, seq, kv_heads * dim]`
    ///
    /// # Panics
    /// If the buffer has no room for them.
    pub fn append(&self, buffer: &mut [f32], batch: usize, len: usize, new: &[f32]) {
        let Self { kv_heads, dim, .. } = *self;
        let (seq, capacity) = (new.len() / (batch * kv_heads * dim), buffer.len() / (batch * kv_heads * dim));
        assert!(len + seq <= capacity, "no room for {seq} positions after {len} of {capacity}");
        for (index, new) in new.chunks_exact(dim).enumerate() {
            let (row, position, head) = (index / (seq * kv_heads), index / kv_heads % seq, index % kv_heads);
            let at = ((row * kv_heads + head) * capacity + len + position) * dim;
            buffer[at..at + dim].copy_from_slice(new);
        }
    }

    /// The weighted sum of the values for each query. A query gives the same bits whatever else is computed with it; one that
    /// sees no key gives zeros.
    ///
    /// # Shapes
    /// - `query`: `[batch, seq, heads * dim]`
    /// - `keys`, `values`: `[batch, kv_heads, capacity, dim]`
    /// - `seen`: `[batch, seq]`, the keys that each query sees
    /// - output: `[batch, seq, heads * dim]`
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attend(
        &self,
        query: &[f32],
        keys: &[f32],
        values: &[f32],
        batch: usize,
        seen: &[Range<usize>],
    ) -> Vec<f32> {
        let Self { heads, kv_heads, dim, .. } = *self;
        let (seq, capacity) = (seen.len() / batch, keys.len() / (batch * kv_heads * dim));
        assert_eq!(query.len(), seen.len() * heads * dim, "a range of keys for each query");
        assert!(seen.iter().all(|seen| seen.end <= capacity), "keys that exist");
        let mut mixed = vec![0.0; query.len()];
        let target = DisjointSlice::new(&mut mixed);
        let tiles = seq.div_ceil(TILE_POSITIONS);
        let unit = |unit: usize| {
            let (row, head, tile) = (unit / (kv_heads * tiles), unit / tiles % kv_heads, unit % tiles);
            let own = (row * kv_heads + head) * capacity * dim..(row * kv_heads + head + 1) * capacity * dim;
            let positions =
                row * seq + tile * TILE_POSITIONS..row * seq + ((tile + 1) * TILE_POSITIONS).min(seq);
            run(Tile {
                attention: self,
                head,
                positions,
                query,
                keys: &keys[own.clone()],
                values: &values[own],
                seen,
                target: &target,
            });
        };
        let units = batch * kv_heads * tiles;
        match seen.iter().map(ExactSizeIterator::len).sum::<usize>() * heads * dim {
            work if work > PARALLEL_WORK => parallel(units, unit),
            _ => (0..units).for_each(unit),
        }
        mixed
    }
}

/// Some consecutive positions of one row and key head.
struct Tile<'a> {
    attention: &'a GroupedQueryAttention<'a>,
    head: usize,
    positions: Range<usize>,
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    seen: &'a [Range<usize>],
    target: &'a DisjointSlice<'a>,
}

impl Kernel for Tile<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let GroupedQueryAttention { heads, kv_heads, .. } = *self.attention;
        let groups = heads / kv_heads;
        let mut scratch = Scratch::default();
        let all = self.positions.clone().flat_map(|position| (0..groups).map(move |group| (position, group)));
        let mut waiting: Vec<(usize, usize)> = Vec::with_capacity(QUERIES_AT_ONCE);
        for next in all {
            // Queries that are computed together begin at the same key, so that their sums have the same order as one by one.
            let same_start =
                waiting.first().is_none_or(|first| self.seen[first.0].start == self.seen[next.0].start);
            if !same_start || waiting.len() == QUERIES_AT_ONCE {
                self.attend_group::<L>(&waiting, &mut scratch);
                waiting.clear();
            }
            waiting.push(next);
        }
        self.attend_group::<L>(&waiting, &mut scratch);
    }
}

#[derive(Default)]
struct Scratch {
    queries: Vec<[f32; LANES]>,
    scores: Vec<[f32; LANES]>,
    mixed: Vec<[f32; LANES]>,
}

impl Tile<'_> {
    /// At longest [`QUERIES_AT_ONCE`] queries.
    #[inline(always)]
    fn attend_group<L: Level>(&self, queries: &[(usize, usize)], scratch: &mut Scratch) {
        // Queries times keys: as many sums as the registers hold.
        match (queries, L::ROWS < 8) {
            ([], _) => {}
            ([a], true) => self.attend_queries::<L, 1, 2>([*a], scratch),
            ([a], false) => self.attend_queries::<L, 1, 8>([*a], scratch),
            (queries, true) => {
                for queries in queries.chunks(2) {
                    let queries = [queries[0], *queries.last().unwrap_or(&queries[0])];
                    self.attend_queries::<L, 2, 1>(queries, scratch);
                }
            }
            ([a, b], false) => self.attend_queries::<L, 2, 4>([*a, *b], scratch),
            // The last one twice, if there are three.
            ([a, b, c, d @ ..], false) => {
                self.attend_queries::<L, 4, 2>([*a, *b, *c, *d.first().unwrap_or(c)], scratch);
            }
        }
    }

    /// `Q` queries, in steps of `K` keys.
    #[inline(always)]
    fn attend_queries<L: Level, const Q: usize, const K: usize>(
        &self,
        queries: [(usize, usize); Q],
        scratch: &mut Scratch,
    ) {
        let GroupedQueryAttention { heads, kv_heads, dim, .. } = *self.attention;
        let start = self.seen[queries[0].0].start;
        let mut lens = [0; Q];
        let mut first = [0; Q];
        for (q, (position, group)) in queries.into_iter().enumerate() {
            lens[q] = self.seen[position].len();
            first[q] = (position * heads + self.head * (heads / kv_heads) + group) * dim;
        }
        let longest = lens.into_iter().max().unwrap_or(0);
        if longest == 0 {
            return;
        }
        let keys = &self.keys[start * dim..][..longest * dim];
        let values = &self.values[start * dim..][..longest * dim];
        let parts = dim.div_ceil(LANES);
        scratch.queries.clear();
        for part in 0..parts {
            for first in first {
                let rest = &self.query[first + part * LANES..first + dim];
                scratch.queries.push(padded(&rest[..LANES.min(rest.len())], 0.0));
            }
        }
        let chunks = longest.div_ceil(LANES);
        scratch.scores.clear();
        scratch.scores.resize(Q * chunks, [0.0; LANES]);
        dot_products::<L, Q, K>(&scratch.queries, keys, dim, scratch.scores.as_flattened_mut());
        let mut shares = [0.0; Q];
        for q in 0..Q {
            let scores = &mut scratch.scores[q * chunks..(q + 1) * chunks];
            let head = self.head * (heads / kv_heads) + queries[q].1;
            let sink = self.attention.sinks.map(|sinks| sinks[head]);
            let total = self.attention.softmax_weights::<L>(scores, lens[q], sink);
            shares[q] = if total > 0.0 { total.recip() } else { 0.0 };
        }
        scratch.mixed.clear();
        scratch.mixed.resize(Q * parts, [0.0; LANES]);
        for block in (0..longest).step_by(VALUE_BLOCK) {
            let block = block..(block + VALUE_BLOCK).min(longest);
            let weights = scratch.scores.as_flattened();
            let mixed = &mut scratch.mixed[..];
            let whole = dim / LANES;
            for part in (0..whole - whole % 2).step_by(2) {
                add_values::<L, Q, 2>(weights, values, dim, block.clone(), part, mixed);
            }
            for part in whole - whole % 2..parts {
                add_values::<L, Q, 1>(weights, values, dim, block.clone(), part, mixed);
            }
        }
        for q in 0..Q {
            let numbers = scratch.mixed[q * parts..(q + 1) * parts].as_flattened_mut();
            for number in numbers.iter_mut() {
                *number *= shares[q];
            }
            #[expect(unsafe_code, reason = "heads of a position lie between those of other threads")]
            // SAFETY: each position and head is in one tile, and each tile in one unit.
            unsafe {
                self.target.write(first[q], &numbers[..dim]);
            }
        }
    }
}

/// `q . k` of `Q` queries with all keys, `K` keys at a time.
///
/// # Shapes
/// - `queries`: `[parts, Q]`, the last part padded with zeros
/// - `keys`: `[keys, dim]`
/// - `scores`: `[Q, keys]`, each row in whole [`LANES`]; the numbers after the last key are undefined
#[inline(always)]
fn dot_products<L: Level, const Q: usize, const K: usize>(
    queries: &[[f32; LANES]],
    keys: &[f32],
    dim: usize,
    scores: &mut [f32],
) {
    let (count, width) = (keys.len() / dim, scores.len() / Q);
    for first in (0..count).step_by(16 / Q) {
        let mut halves = [L::fold_lanes(L::splat(0.0)); 16];
        for step in 0..16 / (Q * K) {
            let mut own = [&keys[..dim]; K];
            for k in 0..K {
                let key = (first + step * K + k).min(count - 1);
                own[k] = &keys[key * dim..][..dim];
            }
            let mut sums = [[L::splat(0.0); Q]; K];
            for part in 0..dim / LANES {
                let mut parts = [L::splat(0.0); K];
                for k in 0..K {
                    parts[k] = L::load(&own[k].as_chunks::<LANES>().0[part]);
                }
                sums = multiply_part::<L, Q, K>(&queries[part * Q..], parts, sums);
            }
            if !dim.is_multiple_of(LANES) {
                let mut parts = [L::splat(0.0); K];
                for k in 0..K {
                    parts[k] = L::load(&padded(&own[k][dim / LANES * LANES..], 0.0));
                }
                sums = multiply_part::<L, Q, K>(&queries[dim / LANES * Q..], parts, sums);
            }
            for k in 0..K {
                for q in 0..Q {
                    halves[(step * K + k) * Q + q] = L::fold_lanes(sums[k][q]);
                }
            }
        }
        let sums = L::sum_lanes(halves);
        for q in 0..Q {
            for k in 0..16 / Q {
                scores[q * width + first + k] = sums[k * Q + q];
            }
        }
    }
}

/// Adds the weighted values of a block of keys, `P` parts of each.
#[inline(always)]
fn add_values<L: Level, const Q: usize, const P: usize>(
    weights: &[f32],
    values: &[f32],
    dim: usize,
    block: Range<usize>,
    part: usize,
    mixed: &mut [[f32; LANES]],
) {
    let (width, parts) = (weights.len() / Q, mixed.len() / Q);
    let mut sums = [[L::splat(0.0); P]; Q];
    for q in 0..Q {
        for p in 0..P {
            sums[q][p] = L::load(&mixed[q * parts + part + p]);
        }
    }
    for key in block {
        let value = &values[key * dim..][..dim];
        let mut lanes = [L::splat(0.0); P];
        for p in 0..P {
            lanes[p] = match value.as_chunks::<LANES>() {
                (whole, _) if part + p < whole.len() => L::load(&whole[part + p]),
                (_, rest) => L::load(&padded(rest, 0.0)),
            };
        }
        for q in 0..Q {
            let weight = L::splat(weights[q * width + key]);
            for p in 0..P {
                sums[q][p] = L::fma(weight, lanes[p], sums[q][p]);
            }
        }
    }
    for q in 0..Q {
        for p in 0..P {
            mixed[q * parts + part + p] = L::store(sums[q][p]);
        }
    }
}

impl GroupedQueryAttention<'_> {
    /// `exp(score - max)` of the first `len` scores in place, zero for the others; their sum, and that of the sink.
    #[inline(always)]
    fn softmax_weights<L: Level>(&self, scores: &mut [[f32; LANES]], len: usize, sink: Option<f32>) -> f32 {
        for chunk in scores.iter_mut() {
            *chunk = each(|lane| chunk[lane] * self.scale);
            if let Some(cap) = self.softcap {
                // cap * tanh(x / cap)
                let powers = exp::<L>(each(|lane| chunk[lane] * (2.0 / cap)));
                *chunk = each(|lane| cap * (1.0 - 2.0 / (powers[lane] + 1.0)));
            }
        }
        scores.as_flattened_mut()[len..].fill(f32::NEG_INFINITY);
        let mut largest = [f32::NEG_INFINITY; LANES];
        for chunk in scores.iter() {
            largest = each(|lane| largest[lane].max(chunk[lane]));
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if largest == f32::NEG_INFINITY {
            scores.fill([0.0; LANES]);
            return 0.0;
        }
        let mut total = [0.0; LANES];
        for chunk in scores.iter_mut() {
            *chunk = exp::<L>(each(|lane| chunk[lane] - largest));
            total = each(|lane| total[lane] + chunk[lane]);
        }
        sum(total) + sink.map_or(0.0, |sink| (sink - largest).exp())
    }
}

/// One more part of the products of queries with keys.
#[inline(always)]
fn multiply_part<L: Level, const Q: usize, const K: usize>(
    queries: &[[f32; LANES]],
    keys: [L::Lanes; K],
    mut sums: [[L::Lanes; Q]; K],
) -> [[L::Lanes; Q]; K] {
    for q in 0..Q {
        let query = L::load(&queries[q]);
        for k in 0..K {
            sums[k][q] = L::fma(query, keys[k], sums[k][q]);
        }
    }
    sums
}
