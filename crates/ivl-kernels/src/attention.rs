//! GroupedQueryAttention over keys and values where they lie.

use std::ops::Range;

use half::f16;

use crate::attention_codes::CodedHead;
use crate::attention_head::{CachedHead, NumbersHead};
use crate::attention_products::{Stored, add_values, transpose, transposed_dot_products, widen};
use crate::attention_scratch::{Scratch, VALUE_BLOCK};
use crate::cached_vectors::KeysAndValues;
use crate::cpu::{Kernel, LANES, Level, each, max, padded, run, sum};
use crate::disjoint::DisjointSlice;
use crate::exp::exp;
use crate::{parallel, threads};

/// Positions of a unit of work. They read the same keys and values while these are in a near cache.
const TILE_POSITIONS: usize = 32;

/// Queries from which on it pays to transpose their keys.
const MANY_QUERIES: usize = 32;

/// Queries that are computed together: each key is then read once for all of them.
const QUERIES_AT_ONCE: usize = 4;

/// Keys whose scores are in memory at once, and whose weighted values are added up before those of the next ones. Where there are
/// few queries, threads share out these parts.
const PART: usize = 256;

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

impl GroupedQueryAttention<'_> {
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
            KeysAndValues::F32(keys, values) => {
                self.attend_in(query, NumbersHead { keys, values }, batch, seen)
            }
            KeysAndValues::F16(keys, values) => {
                let [keys, values] = [keys, values].map(bytemuck::cast_slice::<f16, u16>);
                self.attend_in(query, NumbersHead { keys, values }, batch, seen)
            }
            KeysAndValues::Int8(keys, values) => {
                self.attend_in(query, CodedHead { keys, values }, batch, seen)
            }
        }
    }

    /// `cached` has the heads of all rows.
    fn attend_in<C: TiledHead>(
        &self,
        query: &[f32],
        cached: C,
        batch: usize,
        seen: &[Range<usize>],
    ) -> Vec<f32> {
        let Self { heads, kv_heads, dim, .. } = *self;
        let (seq, capacity) = (seen.len() / batch, cached.positions(dim) / (batch * kv_heads));
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
            let positions =
                row * seq + tile * TILE_POSITIONS..row * seq + ((tile + 1) * TILE_POSITIONS).min(seq);
            run(Tile {
                attention: self,
                head,
                positions,
                query,
                cached: cached.head(row * kv_heads + head, capacity, dim),
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

/// Some consecutive positions of one row and key head.
struct Tile<'a, C> {
    attention: &'a GroupedQueryAttention<'a>,
    head: usize,
    positions: Range<usize>,
    query: &'a [f32],
    cached: C,
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

impl<C: TiledHead> Kernel for Tile<'_, C> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let GroupedQueryAttention { heads, kv_heads, .. } = *self.attention;
        let groups = heads / kv_heads;
        let start = self.seen[self.positions.start].start;
        let same_start = self.seen[self.positions.clone()].iter().all(|seen| seen.start == start);
        let are_many = L::ROWS >= 8 && same_start && self.positions.len() * groups >= MANY_QUERIES;
        if are_many && C::attend_many::<L>(&self) {
            return;
        }
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

/// Keys and values that tiles of queries read.
trait TiledHead: CachedHead {
    /// Computes all queries of a tile, which begin at the same key, if there is a faster way for many than for a few. The bits
    /// are the same.
    #[inline(always)]
    fn attend_many<L: Level>(_tile: &Tile<'_, Self>) -> bool {
        false
    }
}

impl TiledHead for CodedHead<'_> {}

impl<T: Stored> TiledHead for NumbersHead<'_, T> {
    #[inline(always)]
    fn attend_many<L: Level>(tile: &Tile<'_, Self>) -> bool {
        match tile.attention.dim {
            64 => tile.attend_many::<L, 2>(),
            128 => tile.attend_many::<L, 4>(),
            _ => return false,
        }
        true
    }
}

impl<C: CachedHead> Tile<'_, C> {
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
            self.write::<L>(first[q], parts.start, sums, &mut scratch.mixed);
        }
    }

    /// Combines or keeps the sums of the parts of a query, from `first_part` on.
    #[inline(always)]
    fn write<L: Level>(&self, query: usize, first_part: usize, sums: &[f32], mixed: &mut [[f32; LANES]]) {
        let GroupedQueryAttention { heads, dim, .. } = *self.attention;
        let len = self.attention.sums_of_part();
        match self.results {
            Results::Mixed(target) => {
                let mixed = &mut mixed.as_flattened_mut()[..len - 2];
                self.attention.combine::<L>(query % heads, sums, mixed);
                #[expect(unsafe_code, reason = "heads of a position lie between those of other threads")]
                // SAFETY: each position and head is in one tile, and each tile in one unit.
                unsafe {
                    target.write(query * dim, &mixed[..dim]);
                }
            }
            Results::Sums(target, of_query) => {
                #[expect(unsafe_code, reason = "parts of a query lie between those of other threads")]
                // SAFETY: each position and head is in one tile, and each of its parts in one unit.
                unsafe {
                    target.write((query * of_query + first_part) * len, sums);
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
        let (parts, chunks) = (dim.div_ceil(LANES), count.div_ceil(LANES));
        scratch.scores.clear();
        scratch.scores.resize(Q * chunks, [0.0; LANES]);
        self.cached.multiply_keys::<L, Q, K>(keys.clone(), dim, scratch);
        let mut totals = [[0.0; 2]; Q];
        for q in 0..Q {
            let scores = &mut scratch.scores[q * chunks..(q + 1) * chunks];
            totals[q] = self.attention.softmax_weights::<L>(scores, lens[q]);
        }
        scratch.mixed.clear();
        scratch.mixed.resize(Q * parts, [0.0; LANES]);
        for block in (0..count).step_by(VALUE_BLOCK) {
            let block = block..(block + VALUE_BLOCK).min(count);
            self.cached.add_values::<L, Q>(keys.start, block, dim, scratch);
        }
        totals
    }
}

impl<T: Stored> Tile<'_, NumbersHead<'_, T>> {
    /// All queries, which begin at the same key; a head has `PARTS` times [`LANES`] numbers. Keys are transposed, once for all of
    /// them.
    #[inline(always)]
    fn attend_many<L: Level, const PARTS: usize>(&self) {
        let GroupedQueryAttention { heads, kv_heads, dim, .. } = *self.attention;
        let (groups, start) = (heads / kv_heads, self.seen[self.positions.start].start);
        // Of each query its place and the number of its keys. The last one may be there more often: it fills up its group.
        let mut queries: Vec<(usize, usize)> = Vec::new();
        for position in self.positions.clone() {
            let place = position * heads + self.head * groups;
            queries.extend((place..place + groups).map(|place| (place, self.seen[position].len())));
        }
        let count = queries.len();
        queries.resize(count.next_multiple_of(QUERIES_AT_ONCE), queries[count - 1]);
        let longest = queries.iter().map(|query| query.1).max().unwrap_or(0);
        let len = self.attention.sums_of_part();
        let parts = self.parts.start..self.parts.end.min(longest.div_ceil(PART));
        // Without a key in these parts, the zeros that are there already are the result, and the sums of a part without keys.
        if parts.is_empty() {
            return;
        }
        let mut sums = vec![0.0; queries.len() * parts.len() * len];
        let (mut wide, mut transposed) = (Vec::new(), Vec::new());
        let mut scores = vec![[0.0; LANES]; queries.len() * PART / LANES];
        let mut mixed = vec![[0.0; LANES]; queries.len() * PARTS];
        for (index, part) in parts.clone().enumerate() {
            let keys = part * PART..longest.min((part + 1) * PART);
            let own = (start + keys.start) * dim..(start + keys.end) * dim;
            widen::<L, T>(&self.cached.keys[own.clone()], &mut wide);
            transpose(&wide, dim, &mut transposed);
            widen::<L, T>(&self.cached.values[own], &mut wide);
            self.multiply_keys::<L, PARTS>(&queries, keys.start, &transposed, &mut scores);
            let chunks = keys.len().div_ceil(LANES);
            for (query, scores) in scores.chunks_exact_mut(PART / LANES).enumerate() {
                let seen = queries[query].1.clamp(keys.start, keys.end) - keys.start;
                let totals = self.attention.softmax_weights::<L>(&mut scores[..chunks], seen);
                sums[(query * parts.len() + index) * len..][..2].copy_from_slice(&totals);
            }
            mixed.fill([0.0; LANES]);
            for block in (0..keys.len()).step_by(VALUE_BLOCK) {
                let block = block..(block + VALUE_BLOCK).min(keys.len());
                for first in (0..queries.len()).step_by(QUERIES_AT_ONCE) {
                    if !any_sees(&queries[first..first + QUERIES_AT_ONCE], keys.start + block.start) {
                        continue;
                    }
                    let weights = &scores[first * (PART / LANES)..][..QUERIES_AT_ONCE * (PART / LANES)];
                    let mixed = &mut mixed[first * PARTS..][..QUERIES_AT_ONCE * PARTS];
                    for pair in (0..PARTS).step_by(2) {
                        let weights = weights.as_flattened();
                        add_values::<L, f32, QUERIES_AT_ONCE, 2>(
                            weights,
                            &wide,
                            dim,
                            block.clone(),
                            pair,
                            mixed,
                        );
                    }
                }
            }
            for (query, mixed) in mixed.chunks_exact(PARTS).enumerate() {
                sums[(query * parts.len() + index) * len + 2..][..dim].copy_from_slice(mixed.as_flattened());
            }
        }
        for (query, sums) in queries[..count].iter().zip(sums.chunks_exact(parts.len() * len)) {
            self.write::<L>(query.0, parts.start, sums, &mut mixed);
        }
    }

    /// The scores of all queries with the keys of a part, which begins with the key `first_key`.
    #[inline(always)]
    fn multiply_keys<L: Level, const PARTS: usize>(
        &self,
        queries: &[(usize, usize)],
        first_key: usize,
        transposed: &[[f32; LANES]],
        scores: &mut [[f32; LANES]],
    ) {
        let dim = self.attention.dim;
        for (chunk, keys) in transposed.chunks_exact(dim).enumerate() {
            for (group, queries) in queries.as_chunks::<QUERIES_AT_ONCE>().0.iter().enumerate() {
                if !any_sees(queries, first_key + chunk * LANES) {
                    continue;
                }
                let mut own = [&self.query[..0]; QUERIES_AT_ONCE];
                for q in 0..QUERIES_AT_ONCE {
                    own[q] = &self.query[queries[q].0 * dim..][..dim];
                }
                let products = transposed_dot_products::<L, QUERIES_AT_ONCE, PARTS>(own, keys);
                for q in 0..QUERIES_AT_ONCE {
                    scores[(group * QUERIES_AT_ONCE + q) * (PART / LANES) + chunk] = products[q];
                }
            }
        }
    }
}

/// Whether one of some queries, each with the number of its keys, sees a key.
#[inline(always)]
fn any_sees(queries: &[(usize, usize)], key: usize) -> bool {
    let mut any = false;
    for query in queries {
        any |= query.1 > key;
    }
    any
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
        let largest = max(scores);
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
