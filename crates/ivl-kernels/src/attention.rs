//! GroupedQueryAttention over keys and values where they lie.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::cpu::{Kernel, LANES, Level, each, padded, run, sum};
use crate::disjoint::DisjointSlice;
use crate::exp::exp;
use crate::{parallel, threads};

/// Positions of a unit of work. They read the same keys and values while these are in a near cache.
const TILE_POSITIONS: usize = 16;

/// Queries that are computed together: each key is then read once for all of them.
const QUERIES_AT_ONCE: usize = 4;

/// Keys whose scores are in memory at once, and whose weighted values are added up before those of the next ones. Where there are
/// few queries, threads share out these parts.
const PART: usize = 256;

/// Keys whose values are added up before the next ones: they stay in the nearest cache.
pub(crate) const VALUE_BLOCK: usize = 64;

/// Tiles for each thread below which threads share out the keys of a tile.
const TILES_OF_THREAD: usize = 8;

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

/// Keys and values, `[batch, kv_heads, capacity, dim]`, in one of the types of a cache.
#[derive(Debug, Clone, Copy)]
pub enum KeysAndValues<'a> {
    /// In single precision.
    F32(&'a [f32], &'a [f32]),
    /// In half precision.
    F16(&'a [f16], &'a [f16]),
}

/// A number of a cache.
pub trait CacheNumber: bytemuck::Pod {
    /// Writes numbers in this type.
    fn write(numbers: &[f32], to: &mut [Self]);
}

impl CacheNumber for f32 {
    fn write(numbers: &[f32], to: &mut [f32]) {
        to.copy_from_slice(numbers);
    }
}

impl CacheNumber for f16 {
    fn write(numbers: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(numbers);
    }
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
    pub fn append<T: CacheNumber>(&self, buffer: &mut [T], batch: usize, len: usize, new: &[f32]) {
        let Self { kv_heads, dim, .. } = *self;
        let (seq, capacity) = (new.len() / (batch * kv_heads * dim), buffer.len() / (batch * kv_heads * dim));
        assert!(len + seq <= capacity, "no room for {seq} positions after {len} of {capacity}");
        for (index, new) in new.chunks_exact(dim).enumerate() {
            let (row, position, head) = (index / (seq * kv_heads), index / kv_heads % seq, index % kv_heads);
            let at = ((row * kv_heads + head) * capacity + len + position) * dim;
            T::write(new, &mut buffer[at..at + dim]);
        }
    }

    /// The weighted sum of the values for each query. A query gives the same bits whatever else is computed with it; one that
    /// sees no key gives zeros.
    ///
    /// Keys are taken in parts of 256, from the first that a query sees: the exponentials of a part are relative to its largest score,
    /// and the sums of all parts are added up in their order.
    ///
    /// # Shapes
    /// - `query`: `[batch, seq, heads * dim]`
    /// - `cached`: `[batch, kv_heads, capacity, dim]`
    /// - `seen`: `[batch, seq]`, the keys that each query sees
    /// - output: `[batch, seq, heads * dim]`
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attend(
        &self,
        query: &[f32],
        cached: KeysAndValues<'_>,
        batch: usize,
        seen: &[Range<usize>],
    ) -> Vec<f32> {
        match cached {
            KeysAndValues::F32(keys, values) => self.attend_in(query, [keys, values], batch, seen),
            KeysAndValues::F16(keys, values) => {
                let halves = [keys, values].map(bytemuck::cast_slice::<f16, u16>);
                self.attend_in(query, halves, batch, seen)
            }
        }
    }

    fn attend_in<T: Stored>(
        &self,
        query: &[f32],
        [keys, values]: [&[T]; 2],
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
        let all_tiles = batch * kv_heads * tiles;
        let parts = seen.iter().map(ExactSizeIterator::len).max().unwrap_or(0).div_ceil(PART);
        let shares_keys = parts > 1 && all_tiles < TILES_OF_THREAD * threads();
        let mut sums =
            vec![0.0; if shares_keys { seen.len() * heads * parts * self.sums_of_part() } else { 0 }];
        let all_sums = DisjointSlice::new(&mut sums);
        let tile = |unit: usize, parts: Range<usize>, results: Results<'_>| {
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
                parts,
                results,
            });
        };
        if shares_keys {
            parallel(all_tiles * parts, |unit| {
                let part = unit % parts;
                tile(unit / parts, part..part + 1, Results::Sums(&all_sums, parts));
            });
            for first in 0..seen.len() * heads {
                let len = parts * self.sums_of_part();
                run(Combine {
                    attention: self,
                    head: first % heads,
                    sums: &sums[first * len..][..len],
                    mixed: &mut mixed[first * dim..][..dim],
                });
            }
            return mixed;
        }
        let unit = |unit: usize| tile(unit, 0..parts, Results::Mixed(&target));
        match seen.iter().map(ExactSizeIterator::len).sum::<usize>() * heads * dim {
            work if work > PARALLEL_WORK => parallel(all_tiles, unit),
            _ => (0..all_tiles).for_each(unit),
        }
        mixed
    }

    /// Numbers that are kept of a query and a part of its keys: the largest score, the sum of the exponentials, and that of the values,
    /// in whole [`LANES`].
    #[inline(always)]
    fn sums_of_part(&self) -> usize {
        2 + self.dim.next_multiple_of(LANES)
    }
}

/// A number of a cache, as kernels read it.
pub(crate) trait Stored: Copy + Sync {
    const ZERO: Self;

    fn load<L: Level>(numbers: &[Self; LANES]) -> L::Lanes;
}

impl Stored for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load<L: Level>(numbers: &[f32; LANES]) -> L::Lanes {
        L::load(numbers)
    }
}

/// The bits of half precision.
impl Stored for u16 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn load<L: Level>(numbers: &[u16; LANES]) -> L::Lanes {
        L::widen_f16(numbers)
    }
}

/// The last numbers of a head, filled up with zeros.
#[inline(always)]
fn load_rest<L: Level, T: Stored>(rest: &[T]) -> L::Lanes {
    let mut padded = [T::ZERO; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    T::load::<L>(&padded)
}

/// Some consecutive positions of one row and key head.
struct Tile<'a, T> {
    attention: &'a GroupedQueryAttention<'a>,
    head: usize,
    positions: Range<usize>,
    query: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    seen: &'a [Range<usize>],
    /// Parts of the keys.
    parts: Range<usize>,
    results: Results<'a>,
}

/// What becomes of the sums of the parts.
#[derive(Clone, Copy)]
enum Results<'a> {
    /// They are combined.
    Mixed(&'a DisjointSlice<'a>),
    /// They are kept, of so many parts for each query.
    Sums(&'a DisjointSlice<'a>, usize),
}

impl<T: Stored> Kernel for Tile<'_, T> {
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
    /// Of each query those of its parts.
    sums: Vec<f32>,
}

impl<T: Stored> Tile<'_, T> {
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
            first[q] = position * heads + self.head * (heads / kv_heads) + group;
        }
        let longest = lens.into_iter().max().unwrap_or(0);
        if longest == 0 {
            return;
        }
        scratch.queries.clear();
        for part in 0..dim.div_ceil(LANES) {
            for first in first {
                let rest = &self.query[first * dim + part * LANES..(first + 1) * dim];
                scratch.queries.push(padded(&rest[..LANES.min(rest.len())], 0.0));
            }
        }
        let len = self.attention.sums_of_part();
        let parts = self.parts.start..self.parts.end.min(longest.div_ceil(PART));
        scratch.sums.clear();
        scratch.sums.resize(Q * parts.len() * len, 0.0);
        for (index, part) in parts.clone().enumerate() {
            let keys = part * PART..longest.min((part + 1) * PART);
            let mut own = [0; Q];
            for q in 0..Q {
                own[q] = lens[q].clamp(keys.start, keys.end) - keys.start;
            }
            let totals = self.attend_part::<L, Q, K>(start + keys.start..start + keys.end, own, scratch);
            let width = scratch.mixed.len() / Q;
            for q in 0..Q {
                let sums = &mut scratch.sums[(q * parts.len() + index) * len..][..len];
                sums[..2].copy_from_slice(&totals[q]);
                sums[2..].copy_from_slice(scratch.mixed[q * width..][..width].as_flattened());
            }
        }
        for q in 0..Q {
            let sums = &scratch.sums[q * parts.len() * len..][..parts.len() * len];
            match self.results {
                Results::Mixed(target) => {
                    let mixed = &mut scratch.mixed.as_flattened_mut()[..len - 2];
                    self.attention.combine::<L>(first[q] % heads, sums, mixed);
                    #[expect(unsafe_code, reason = "heads of a position lie between those of other threads")]
                    // SAFETY: each position and head is in one tile, and each tile in one unit.
                    unsafe {
                        target.write(first[q] * dim, &mixed[..dim]);
                    }
                }
                Results::Sums(target, of_query) => {
                    #[expect(unsafe_code, reason = "parts of a query lie between those of other threads")]
                    // SAFETY: each position and head is in one tile, and each of its parts in one unit.
                    unsafe {
                        target.write((first[q] * of_query + parts.start) * len, sums);
                    }
                }
            }
        }
    }

    /// The largest scores and the sums of the exponentials of some keys, of which each query sees the first `lens`. The weighted values
    /// are in `scratch.mixed`.
    #[inline(always)]
    fn attend_part<L: Level, const Q: usize, const K: usize>(
        &self,
        keys: Range<usize>,
        lens: [usize; Q],
        scratch: &mut Scratch,
    ) -> [[f32; 2]; Q] {
        let GroupedQueryAttention { dim, .. } = *self.attention;
        let count = keys.len();
        let (keys, values) =
            (&self.keys[keys.start * dim..keys.end * dim], &self.values[keys.start * dim..keys.end * dim]);
        let (parts, chunks) = (dim.div_ceil(LANES), count.div_ceil(LANES));
        scratch.scores.clear();
        scratch.scores.resize(Q * chunks, [0.0; LANES]);
        dot_products::<L, T, Q, K>(&scratch.queries, keys, dim, scratch.scores.as_flattened_mut());
        let mut totals = [[0.0; 2]; Q];
        for q in 0..Q {
            let scores = &mut scratch.scores[q * chunks..(q + 1) * chunks];
            totals[q] = self.attention.softmax_weights::<L>(scores, lens[q]);
        }
        scratch.mixed.clear();
        scratch.mixed.resize(Q * parts, [0.0; LANES]);
        for block in (0..count).step_by(VALUE_BLOCK) {
            let block = block..(block + VALUE_BLOCK).min(count);
            let weights = scratch.scores.as_flattened();
            let mixed = &mut scratch.mixed[..];
            let whole = dim / LANES;
            for part in (0..whole - whole % 2).step_by(2) {
                add_values::<L, T, Q, 2>(weights, values, dim, block.clone(), part, mixed);
            }
            for part in whole - whole % 2..parts {
                add_values::<L, T, Q, 1>(weights, values, dim, block.clone(), part, mixed);
            }
        }
        totals
    }
}

/// Combines the sums of the parts of one query.
struct Combine<'a> {
    attention: &'a GroupedQueryAttention<'a>,
    head: usize,
    sums: &'a [f32],
    mixed: &'a mut [f32],
}

impl Kernel for Combine<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let mut mixed = vec![0.0; self.mixed.len().next_multiple_of(LANES)];
        self.attention.combine::<L>(self.head, self.sums, &mut mixed);
        self.mixed.copy_from_slice(&mixed[..self.mixed.len()]);
    }
}

/// `q . k` of `Q` queries with all keys, `K` keys at a time.
///
/// # Shapes
/// - `queries`: `[parts, Q]`, the last part padded with zeros
/// - `keys`: `[keys, dim]`
/// - `scores`: `[Q, keys]`, each row in whole [`LANES`]; the numbers after the last key are undefined
#[inline(always)]
pub(crate) fn dot_products<L: Level, T: Stored, const Q: usize, const K: usize>(
    queries: &[[f32; LANES]],
    keys: &[T],
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
                    parts[k] = T::load::<L>(&own[k].as_chunks::<LANES>().0[part]);
                }
                sums = multiply_part::<L, Q, K>(&queries[part * Q..], parts, sums);
            }
            if !dim.is_multiple_of(LANES) {
                let mut parts = [L::splat(0.0); K];
                for k in 0..K {
                    parts[k] = load_rest::<L, T>(&own[k][dim / LANES * LANES..]);
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
pub(crate) fn add_values<L: Level, T: Stored, const Q: usize, const P: usize>(
    weights: &[f32],
    values: &[T],
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
                (whole, _) if part + p < whole.len() => T::load::<L>(&whole[part + p]),
                (_, rest) => load_rest::<L, T>(rest),
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
    /// Multiplies scores with the scale and caps them.
    #[inline(always)]
    pub(crate) fn scale_scores<L: Level>(&self, scores: &mut [[f32; LANES]]) {
        for chunk in scores.iter_mut() {
            *chunk = each(|lane| chunk[lane] * self.scale);
            if let Some(cap) = self.softcap {
                // cap * tanh(x / cap)
                let powers = exp::<L>(each(|lane| chunk[lane] * (2.0 / cap)));
                *chunk = each(|lane| cap * (1.0 - 2.0 / (powers[lane] + 1.0)));
            }
        }
    }

    /// `exp(score - max)` of the first `len` scores in place, zero for the others; the maximum, and the sum of the exponentials.
    #[inline(always)]
    fn softmax_weights<L: Level>(&self, scores: &mut [[f32; LANES]], len: usize) -> [f32; 2] {
        self.scale_scores::<L>(scores);
        scores.as_flattened_mut()[len..].fill(f32::NEG_INFINITY);
        let mut largest = [f32::NEG_INFINITY; LANES];
        for chunk in scores.iter() {
            largest = each(|lane| largest[lane].max(chunk[lane]));
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if largest == f32::NEG_INFINITY {
            scores.fill([0.0; LANES]);
            return [largest, 0.0];
        }
        let mut total = [0.0; LANES];
        for chunk in scores.iter_mut() {
            *chunk = exp::<L>(each(|lane| chunk[lane] - largest));
            total = each(|lane| total[lane] + chunk[lane]);
        }
        [largest, sum(total)]
    }

    /// The weighted mean of the values, from the [sums](Self::sums_of_part) of the parts of a query; `mixed` is in whole [`LANES`].
    #[inline(always)]
    fn combine<L: Level>(&self, head: usize, sums: &[f32], mixed: &mut [f32]) {
        let len = self.sums_of_part();
        let mut largest = f32::NEG_INFINITY;
        // A part without keys has no sum.
        for part in sums.chunks_exact(len) {
            largest = if part[1] == 0.0 { largest } else { largest.max(part[0]) };
        }
        let lanes = mixed.as_chunks_mut::<LANES>().0;
        lanes.fill([0.0; LANES]);
        if largest == f32::NEG_INFINITY {
            return;
        }
        let mut total = 0.0;
        for part in sums.chunks_exact(len) {
            if part[1] == 0.0 {
                continue;
            }
            let factor = exp::<L>([part[0] - largest; LANES])[0];
            total = L::fma_one(factor, part[1], total);
            for (mixed, values) in lanes.iter_mut().zip(part[2..].as_chunks::<LANES>().0) {
                *mixed = L::store(L::fma(L::splat(factor), L::load(values), L::load(mixed)));
            }
        }
        let total = total + self.sinks.map_or(0.0, |sinks| (sinks[head] - largest).exp());
        let share = if total > 0.0 { total.recip() } else { 0.0 };
        for number in mixed.iter_mut() {
            *number *= share;
        }
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
