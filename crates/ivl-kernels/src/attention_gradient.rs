//! Derivatives of attention by queries, keys and values.

use std::ops::Range;

use crate::attention::GroupedQueryAttention;
use crate::attention_products::{add_values, dot_products};
use crate::attention_scratch::VALUE_BLOCK;
use crate::cpu::{Kernel, LANES, Level, each, max, padded, run, sum};
use crate::disjoint::DisjointSlice;
use crate::exp::exp;
use crate::parallel_rows::parallel_map;

impl GroupedQueryAttention<'_> {
    /// The derivatives of a loss by queries, keys and values, from `slopes`, those by the output of [`attend`](Self::attend). For a query
    /// `q` with the scores `s = scale * K q`, the weights `w = softmax(s)` and the output `o = V^T w`,
    ///
    /// ```text
    /// dw = V do        ds = scale * w * (dw - w . dw)        dq = K^T ds        dK += ds q^T        dV += w do^T
    /// ```
    ///
    /// Weights are computed again, so that a pass forward keeps its inputs only ([Dao et al. 2022](https://arxiv.org/abs/2205.14135)).
    /// One that sees no key has no derivatives. Each row and key head is one thread's.
    ///
    /// # Shapes
    /// - `query`, `slopes` and the first output: `[batch, seq, heads * dim]`
    /// - keys, values and the other outputs: `[batch, kv_heads, keys, dim]`
    /// - `seen`: `[batch, seq]`, the keys that each query sees
    ///
    /// # Panics
    /// If the shapes do not fit, or with sinks, whose derivatives it does not compute.
    pub fn gradient(
        &self,
        query: &[f32],
        [keys, values]: [&[f32]; 2],
        slopes: &[f32],
        batch: usize,
        seen: &[Range<usize>],
    ) -> [Vec<f32>; 3] {
        let Self { heads, kv_heads, dim, .. } = *self;
        assert!(self.sinks.is_none(), "no sinks");
        assert_eq!(query.len(), seen.len() * heads * dim, "a range of keys for each query");
        assert_eq!(slopes.len(), query.len(), "a derivative for each number of the output");
        assert_eq!(values.len(), keys.len(), "a value for each key");
        let (seq, of_head) = (seen.len() / batch, keys.len() / (batch * kv_heads));
        assert!(seen.iter().all(|seen| seen.end * dim <= of_head), "keys that exist");
        let [mut by_query, mut by_keys, mut by_values] = [query, keys, values].map(|x| vec![0.0; x.len()]);
        let target = DisjointSlice::new(&mut by_query);
        let results = by_keys.chunks_exact_mut(of_head).zip(by_values.chunks_exact_mut(of_head));
        parallel_map(results, |unit, (by_keys, by_values)| {
            let (row, own) = (unit / kv_heads, unit * of_head..(unit + 1) * of_head);
            run(HeadGradient {
                attention: self,
                head: unit % kv_heads,
                first: row * seq,
                query,
                keys: &keys[own.clone()],
                values: &values[own],
                slopes,
                seen: &seen[row * seq..(row + 1) * seq],
                by_query: &target,
                by_keys,
                by_values,
            });
        });
        [by_query, by_keys, by_values]
    }

    /// Products of a query with keys become the weights of the keys, and derivatives by the weights those by the products. Only the keys
    /// in `own` have weights.
    #[inline(always)]
    fn weights_and_slopes<L: Level>(
        &self,
        scores: &mut [[f32; LANES]],
        slopes: &mut [[f32; LANES]],
        own: Range<usize>,
    ) {
        self.scale_scores::<L>(scores);
        // The derivative of cap * tanh(x / cap).
        let bends: Vec<[f32; LANES]> = match self.softcap {
            Some(cap) => {
                let mut bends = Vec::with_capacity(scores.len());
                for chunk in scores.iter() {
                    bends.push(each(|lane| 1.0 - (chunk[lane] / cap) * (chunk[lane] / cap)));
                }
                bends
            }
            None => Vec::new(),
        };
        let (all_scores, all_slopes) = (scores.as_flattened_mut(), slopes.as_flattened_mut());
        for hidden in [0..own.start, own.end..all_scores.len()] {
            all_scores[hidden.clone()].fill(f32::NEG_INFINITY);
            all_slopes[hidden].fill(0.0);
        }
        let largest = max(scores);
        if largest == f32::NEG_INFINITY {
            scores.fill([0.0; LANES]);
            slopes.fill([0.0; LANES]);
            return;
        }
        let (mut total, mut product) = ([0.0; LANES], [0.0; LANES]);
        for (chunk, slope) in scores.iter_mut().zip(slopes.iter()) {
            *chunk = exp::<L>(each(|lane| chunk[lane] - largest));
            total = each(|lane| total[lane] + chunk[lane]);
            product = each(|lane| product[lane] + chunk[lane] * slope[lane]);
        }
        let share = sum(total).recip();
        let mean = sum(product) * share;
        for (index, (chunk, slope)) in scores.iter_mut().zip(slopes.iter_mut()).enumerate() {
            *chunk = each(|lane| chunk[lane] * share);
            *slope = each(|lane| self.scale * chunk[lane] * (slope[lane] - mean));
            if let Some(bend) = bends.get(index) {
                *slope = each(|lane| slope[lane] * bend[lane]);
            }
        }
    }
}

/// One key head of one row.
struct HeadGradient<'a> {
    attention: &'a GroupedQueryAttention<'a>,
    head: usize,
    /// The row's first position among those of all rows.
    first: usize,
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    slopes: &'a [f32],
    seen: &'a [Range<usize>],
    by_query: &'a DisjointSlice<'a>,
    by_keys: &'a mut [f32],
    by_values: &'a mut [f32],
}

/// Sums for each key and value, and memory for a few queries. Heads are filled up to whole [`LANES`].
#[derive(Default)]
struct Scratch {
    by_keys: Vec<[f32; LANES]>,
    by_values: Vec<[f32; LANES]>,
    /// `[parts, Q]`.
    queries: Vec<[f32; LANES]>,
    /// `[parts, Q]`.
    outputs: Vec<[f32; LANES]>,
    /// `[Q, keys]`.
    weights: Vec<[f32; LANES]>,
    /// `[Q, keys]`.
    slopes: Vec<[f32; LANES]>,
    /// `[Q, parts]`.
    by_queries: Vec<[f32; LANES]>,
}

impl Kernel for HeadGradient<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let GroupedQueryAttention { heads, kv_heads, dim, .. } = *self.attention;
        let (parts, keys) = (dim.div_ceil(LANES), self.keys.len() / dim);
        let mut scratch = Scratch::default();
        scratch.by_keys.resize(keys * parts, [0.0; LANES]);
        scratch.by_values.resize(keys * parts, [0.0; LANES]);
        let queries = self.seen.len() * (heads / kv_heads);
        // As many queries at once as the registers hold sums of.
        if L::ROWS < 8 {
            for first in (0..queries).step_by(2) {
                self.add_queries::<L, 2, 1>(first, &mut scratch);
            }
        } else {
            for first in (0..queries).step_by(4) {
                self.add_queries::<L, 4, 2>(first, &mut scratch);
            }
        }
        for (sums, to) in [(&scratch.by_keys, self.by_keys), (&scratch.by_values, self.by_values)] {
            for (sums, to) in sums.chunks_exact(parts).zip(to.chunks_exact_mut(dim)) {
                to.copy_from_slice(&sums.as_flattened()[..dim]);
            }
        }
    }
}

impl HeadGradient<'_> {
    /// `Q` queries, in steps of `K` keys. Query heads that share the key head stand beside each other at each position.
    #[inline(always)]
    fn add_queries<L: Level, const Q: usize, const K: usize>(&self, first: usize, scratch: &mut Scratch) {
        let GroupedQueryAttention { heads, kv_heads, dim, .. } = *self.attention;
        let (groups, parts) = (heads / kv_heads, dim.div_ceil(LANES));
        let count = Q.min(self.seen.len() * groups - first);
        // Where the last queries are fewer, they stand in for the others, which see nothing.
        let (mut places, mut seen) = ([0; Q], [[0; 2]; Q]);
        let (mut start, mut end) = (usize::MAX, 0);
        for q in 0..Q {
            let index = first + q.min(count - 1);
            let (position, group) = (index / groups, index % groups);
            places[q] = ((self.first + position) * heads + self.head * groups + group) * dim;
            let own = &self.seen[position];
            if q < count && !own.is_empty() {
                seen[q] = [own.start, own.end];
                (start, end) = (start.min(own.start), end.max(own.end));
            }
        }
        if start >= end {
            return;
        }
        for (numbers, padded_to) in [(self.query, &mut scratch.queries), (self.slopes, &mut scratch.outputs)]
        {
            padded_to.clear();
            for part in 0..parts {
                for place in places {
                    let rest = &numbers[place + part * LANES..place + dim];
                    padded_to.push(padded(&rest[..LANES.min(rest.len())], 0.0));
                }
            }
        }
        let (keys, values) = (&self.keys[start * dim..end * dim], &self.values[start * dim..end * dim]);
        let chunks = (end - start).div_ceil(LANES);
        for sums in [&mut scratch.weights, &mut scratch.slopes] {
            sums.clear();
            sums.resize(Q * chunks, [0.0; LANES]);
        }
        dot_products::<L, f32, Q, K>(&scratch.queries, keys, dim, scratch.weights.as_flattened_mut());
        dot_products::<L, f32, Q, K>(&scratch.outputs, values, dim, scratch.slopes.as_flattened_mut());
        for q in 0..Q {
            let all = q * chunks..(q + 1) * chunks;
            let own = seen[q][0].saturating_sub(start)..seen[q][1].saturating_sub(start);
            let (weights, slopes) = (&mut scratch.weights[all.clone()], &mut scratch.slopes[all]);
            self.attention.weights_and_slopes::<L>(weights, slopes, own);
        }
        let sums = start * parts..end * parts;
        add_outer::<L, Q>(&scratch.slopes, &scratch.queries, &mut scratch.by_keys[sums.clone()]);
        add_outer::<L, Q>(&scratch.weights, &scratch.outputs, &mut scratch.by_values[sums]);
        scratch.by_queries.clear();
        scratch.by_queries.resize(Q * parts, [0.0; LANES]);
        let slopes = scratch.slopes.as_flattened();
        for block in (0..end - start).step_by(VALUE_BLOCK) {
            let block = block..(block + VALUE_BLOCK).min(end - start);
            for part in 0..parts {
                let sums = &mut scratch.by_queries[..];
                add_values::<L, f32, Q, 1>(slopes, keys, dim, block.clone(), part, sums);
            }
        }
        for q in 0..count {
            let by_query = scratch.by_queries[q * parts..(q + 1) * parts].as_flattened();
            #[expect(unsafe_code, reason = "heads of a position lie between those of other threads")]
            // SAFETY: each position and head belongs to one key head of one row, and each of these to one unit.
            unsafe {
                self.by_query.write(places[q], &by_query[..dim]);
            }
        }
    }
}

/// Adds to the sums of each key the rows, multiplied with its weights.
///
/// # Shapes
/// - `weights`: `[Q, keys]`, each row in whole [`LANES`]
/// - `rows`: `[parts, Q]`
/// - `sums`: `[keys, parts]`
#[inline(always)]
fn add_outer<L: Level, const Q: usize>(
    weights: &[[f32; LANES]],
    rows: &[[f32; LANES]],
    sums: &mut [[f32; LANES]],
) {
    let weights = weights.as_flattened();
    let (width, parts) = (weights.len() / Q, rows.len() / Q);
    for part in 0..parts {
        let mut own = [L::splat(0.0); Q];
        for q in 0..Q {
            own[q] = L::load(&rows[part * Q + q]);
        }
        for (key, sums) in sums.chunks_exact_mut(parts).enumerate() {
            let mut lanes = L::load(&sums[part]);
            for q in 0..Q {
                lanes = L::fma(L::splat(weights[q * width + key]), own[q], lanes);
            }
            sums[part] = L::store(lanes);
        }
    }
}
