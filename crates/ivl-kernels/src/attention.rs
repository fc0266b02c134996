//! Attention over keys and values where they lie.

use std::ops::Range;

use crate::cpu::{Kernel, LANES, Level, run, sum};
use crate::disjoint::Disjoint;
use crate::exp::exp;
use crate::parallel;

/// Positions of a unit of work, which read the same keys and values from a near cache.
const POSITIONS: usize = 16;

/// Queries that are computed together.
const TOGETHER: usize = 4;

/// Keys whose values are added up before the next ones: they stay in the nearest cache.
const BLOCK: usize = 64;

/// Multiplications that are worth the attention of another thread.
const SHARE: usize = 64 << 10;

/// `softmax(scale * Q K^T) V`, where consecutive query heads may share a key head.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
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
}

impl Attention {
    /// Puts new keys (or values) behind the first `len` of each row of a buffer.
    ///
    /// # Shapes
    /// - `buffer`: `[batch, kv_heads, capacity, dim]`
    /// - `new`: `[batch, seq, kv_heads * dim]`
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn append(&self, buffer: &mut [f32], batch: usize, len: usize, new: &[f32]) {
        let Self { kv_heads, dim, .. } = *self;
        let (seq, capacity) = (new.len() / (batch * kv_heads * dim), buffer.len() / (batch * kv_heads * dim));
        assert!(len + seq <= capacity, "no room for {seq} positions behind {len} of {capacity}");
        for (index, new) in new.chunks_exact(dim).enumerate() {
            let (row, position, head) = (index / (seq * kv_heads), index / kv_heads % seq, index % kv_heads);
            let at = ((row * kv_heads + head) * capacity + len + position) * dim;
            buffer[at..at + dim].copy_from_slice(new);
        }
    }

    /// The mixed values of each query. A query gives the same bits whatever else is computed with it; one that sees no key
    /// gives zeros.
    ///
    /// # Shapes
    /// - `query`: `[batch, seq, heads * dim]`
    /// - `keys`, `values`: `[batch, kv_heads, capacity, dim]`
    /// - `seen`: `[batch, seq]`, the keys that each query sees
    /// - output: `[batch, seq, heads * dim]`
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn mix(
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
        let target = Disjoint::new(&mut mixed);
        let tiles = seq.div_ceil(POSITIONS);
        let unit = |unit: usize| {
            let (row, head, tile) = (unit / (kv_heads * tiles), unit / tiles % kv_heads, unit % tiles);
            let own = (row * kv_heads + head) * capacity * dim..(row * kv_heads + head + 1) * capacity * dim;
            let positions = row * seq + tile * POSITIONS..row * seq + ((tile + 1) * POSITIONS).min(seq);
            run(Tile {
                of: self,
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
            work if work > SHARE => parallel(units, unit),
            _ => (0..units).for_each(unit),
        }
        mixed
    }
}

/// Some consecutive positions of one row and key head.
struct Tile<'a> {
    of: &'a Attention,
    head: usize,
    positions: Range<usize>,
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    seen: &'a [Range<usize>],
    target: &'a Disjoint<'a>,
}

impl Kernel for Tile<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Attention { heads, kv_heads, .. } = *self.of;
        let groups = heads / kv_heads;
        let mut scratch = Scratch::default();
        let all = self.positions.clone().flat_map(|position| (0..groups).map(move |group| (position, group)));
        let mut waiting: Vec<(usize, usize)> = Vec::with_capacity(TOGETHER);
        for next in all {
            // What is computed together begins at the same key, so that sums are formed in the same order as alone.
            let alike =
                waiting.first().is_none_or(|first| self.seen[first.0].start == self.seen[next.0].start);
            if !alike || waiting.len() == TOGETHER {
                self.some::<L>(&waiting, &mut scratch);
                waiting.clear();
            }
            waiting.push(next);
        }
        self.some::<L>(&waiting, &mut scratch);
    }
}

#[derive(Default)]
struct Scratch {
    scores: Vec<[f32; LANES]>,
    mixed: Vec<[f32; LANES]>,
}

impl Tile<'_> {
    #[inline(always)]
    fn some<L: Level>(&self, queries: &[(usize, usize)], scratch: &mut Scratch) {
        match queries {
            [] => {}
            [a] => self.together::<L, 1>([*a], scratch),
            [a, b] => self.together::<L, 2>([*a, *b], scratch),
            [a, b, c] => self.together::<L, 3>([*a, *b, *c], scratch),
            [a, b, c, d, ..] => self.together::<L, TOGETHER>([*a, *b, *c, *d], scratch),
        }
    }

    #[inline(always)]
    fn together<L: Level, const Q: usize>(&self, queries: [(usize, usize); Q], scratch: &mut Scratch) {
        let Attention { heads, kv_heads, dim, scale, softcap } = *self.of;
        let start = self.seen[queries[0].0].start;
        let lens = queries.map(|(position, _)| self.seen[position].len());
        let most = lens.into_iter().max().unwrap_or(0);
        let first = |(position, group): (usize, usize)| {
            (position * heads + self.head * (heads / kv_heads) + group) * dim
        };
        if most == 0 {
            return;
        }
        let chunks = most.div_ceil(LANES);
        let Scratch { scores, mixed } = scratch;
        scores.clear();
        scores.resize(Q * chunks, [f32::NEG_INFINITY; LANES]);
        let rows = queries.map(|query| self.query[first(query)..][..dim].as_chunks::<LANES>());
        for key in 0..most {
            let (parts, rest) = self.keys[(start + key) * dim..][..dim].as_chunks::<LANES>();
            let mut sums = [L::splat(0.0); Q];
            for (part, numbers) in parts.iter().enumerate() {
                let numbers = L::load(numbers);
                for q in 0..Q {
                    sums[q] = L::fma(L::load(&rows[q].0[part]), numbers, sums[q]);
                }
            }
            for q in 0..Q {
                let tail: f32 = rows[q].1.iter().zip(rest).map(|(a, b)| a * b).sum();
                let score = (sum(L::store(sums[q])) + tail) * scale;
                if key < lens[q] {
                    scores[q * chunks + key / LANES][key % LANES] = match softcap {
                        Some(cap) => (score / cap).tanh() * cap,
                        None => score,
                    };
                }
            }
        }
        let mut totals = [0.0; Q];
        for q in 0..Q {
            totals[q] = weights::<L>(&mut scores[q * chunks..(q + 1) * chunks]);
        }
        let parts = dim.div_ceil(LANES);
        mixed.clear();
        mixed.resize(Q * parts, [0.0; LANES]);
        for block in (0..most).step_by(BLOCK) {
            for part in 0..parts {
                let mut sums: [L::Lanes; Q] = std::array::from_fn(|q| L::load(&mixed[q * parts + part]));
                for key in block..(block + BLOCK).min(most) {
                    let value = &self.values[(start + key) * dim..][..dim];
                    let value = match value[part * LANES..].first_chunk::<LANES>() {
                        Some(whole) => L::load(whole),
                        None => L::load(&padded(&value[part * LANES..])),
                    };
                    for q in 0..Q {
                        let weight = scores[q * chunks + key / LANES][key % LANES];
                        sums[q] = L::fma(L::splat(weight), value, sums[q]);
                    }
                }
                for q in 0..Q {
                    mixed[q * parts + part] = L::store(sums[q]);
                }
            }
        }
        for q in 0..Q {
            let numbers = mixed[q * parts..(q + 1) * parts].as_flattened_mut();
            let share = if totals[q] > 0.0 { totals[q].recip() } else { 0.0 };
            for number in numbers.iter_mut() {
                *number *= share;
            }
            let at = first(queries[q]);
            #[expect(unsafe_code, reason = "heads of a position lie between those of other threads")]
            // SAFETY: each position and head is in one tile, and each tile in one unit.
            unsafe {
                self.target.write(at..at + dim, &numbers[..dim]);
            }
        }
    }
}

/// `exp(score - max)` in place; their sum.
#[inline(always)]
fn weights<L: Level>(scores: &mut [[f32; LANES]]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in scores.iter() {
        for lane in 0..LANES {
            most[lane] = most[lane].max(chunk[lane]);
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        scores.fill([0.0; LANES]);
        return 0.0;
    }
    let mut total = [0.0; LANES];
    for chunk in scores.iter_mut() {
        *chunk = exp::<L>(std::array::from_fn(|lane| chunk[lane] - most));
        for lane in 0..LANES {
            total[lane] += chunk[lane];
        }
    }
    sum(total)
}

#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}
