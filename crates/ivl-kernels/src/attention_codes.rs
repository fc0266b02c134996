//! Attention over keys and values that are codes of eight bits.
//!
//! A query is rounded to signed bytes, with a scale for each group of 32 numbers, as the keys are. Its products with the codes of a
//! group are exact whole numbers, and only their sums are multiplied with scales:
//!
//! ```text
//! score = sum over groups of  scale_q scale_k (sum of codes_q codes_k)
//! mixed = sum over keys of    (weight scale_v) code_v
//! ```
//!
//! Groups and keys follow in their order, for each query by itself.

use std::ops::Range;

use half::f16;

use crate::attention_head::CachedHead;
use crate::attention_products::{Stored, load_rest};
use crate::attention_scratch::{QueryCodes, Scratch, VALUE_BLOCK};
use crate::cached_vectors::CodedVectors;
use crate::cpu::{
    CACHE_LINE, INPUTS, IntegerKernel, IntegerLevel, LANES, Level, OUTPUTS, prefetch_ahead, run_integers,
};
use crate::integer::{GROUP, STEPS, round_group};

/// Lanes are groups, so that each register of a value has one scale.
const _: () = assert!(LANES == GROUP);

/// How far ahead of the keys that are multiplied others are loaded, in bytes.
const AHEAD: usize = 2048;

/// Keys and values as codes.
#[derive(Clone, Copy)]
pub(crate) struct CodedHead<'a> {
    pub(crate) keys: CodedVectors<'a>,
    pub(crate) values: CodedVectors<'a>,
}

impl<'a> CodedHead<'a> {
    /// The scales of one group of the vectors at some positions.
    #[inline(always)]
    fn scales(vectors: CodedVectors<'a>, dim: usize, group: usize, positions: Range<usize>) -> &'a [f16] {
        let capacity = vectors.codes.len() / dim;
        &vectors.scales[group * capacity..][positions]
    }
}

impl CachedHead for CodedHead<'_> {
    fn positions(self, dim: usize) -> usize {
        self.keys.codes.len() / dim
    }

    fn head(self, index: usize, capacity: usize, dim: usize) -> Self {
        let scales = CodedVectors::groups(dim) * capacity;
        let part = |CodedVectors { codes, scales: all }| CodedVectors {
            codes: &codes[index * capacity * dim..][..capacity * dim],
            scales: &all[index * scales..][..scales],
        };
        Self { keys: part(self.keys), values: part(self.values) }
    }

    #[inline(always)]
    fn multiply_keys<L: Level, const Q: usize, const K: usize>(
        self,
        keys: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    ) {
        run_integers(MultiplyKeys::<Q> {
            queries: &scratch.queries,
            query_codes: &mut scratch.query_codes,
            all: self.keys,
            values: self.values.codes,
            keys,
            dim,
            scores: scratch.scores.as_flattened_mut(),
        });
    }

    #[inline(always)]
    fn add_values<L: Level, const Q: usize>(
        self,
        start: usize,
        block: Range<usize>,
        dim: usize,
        scratch: &mut Scratch,
    ) {
        let weights = scratch.scores.as_flattened();
        let mixed = &mut scratch.mixed[..];
        let (parts, whole) = (dim.div_ceil(LANES), dim / LANES);
        for part in (0..whole - whole % 2).step_by(2) {
            add_coded_values::<L, Q, 2>(weights, self.values, dim, (start, block.clone()), part, mixed);
        }
        for part in whole - whole % 2..parts {
            add_coded_values::<L, Q, 1>(weights, self.values, dim, (start, block.clone()), part, mixed);
        }
    }
}

/// Adds the weighted values of a block of the keys from `start` on, `P` parts of each.
#[inline(always)]
fn add_coded_values<L: Level, const Q: usize, const P: usize>(
    weights: &[f32],
    values: CodedVectors<'_>,
    dim: usize,
    (start, block): (usize, Range<usize>),
    part: usize,
    mixed: &mut [[f32; LANES]],
) {
    let (width, parts, count) = (weights.len() / Q, mixed.len() / Q, block.len());
    // The weights of each part of the values.
    let mut scaled = [[[0.0; P]; Q]; VALUE_BLOCK];
    let mut scales = [[0.0; VALUE_BLOCK]; P];
    for p in 0..P {
        let own = CodedHead::scales(values, dim, part + p, start + block.start..start + block.end);
        let mut halves = [0; VALUE_BLOCK];
        for key in 0..count {
            halves[key] = own[key].to_bits();
        }
        for (to, halves) in scales[p].as_chunks_mut::<LANES>().0.iter_mut().zip(halves.as_chunks::<LANES>().0)
        {
            *to = L::store(L::widen_f16(halves));
        }
    }
    for q in 0..Q {
        let own = &weights[q * width + block.start..][..count];
        for key in 0..count {
            for p in 0..P {
                scaled[key][q][p] = own[key] * scales[p][key];
            }
        }
    }
    let mut sums = [[L::splat(0.0); P]; Q];
    for q in 0..Q {
        for p in 0..P {
            sums[q][p] = L::load(&mixed[q * parts + part + p]);
        }
    }
    let codes = &values.codes[(start + block.start) * dim..][..count * dim];
    // Two loops: a call that fills up the last part would take the sums out of the registers.
    if part + P <= dim / LANES {
        for (value, scaled) in codes.chunks_exact(dim).zip(&scaled) {
            let value = value.as_chunks::<LANES>().0;
            let mut lanes = [L::splat(0.0); P];
            for p in 0..P {
                lanes[p] = i8::load::<L>(&value[part + p]);
            }
            sums = add_scaled::<L, Q, P>(scaled, lanes, sums);
        }
    } else {
        for (value, scaled) in codes.chunks_exact(dim).zip(&scaled) {
            let mut lanes = [L::splat(0.0); P];
            for p in 0..P {
                let rest = &value[((part + p) * LANES).min(dim)..];
                lanes[p] = load_rest::<L, i8>(&rest[..LANES.min(rest.len())]);
            }
            sums = add_scaled::<L, Q, P>(scaled, lanes, sums);
        }
    }
    for q in 0..Q {
        for p in 0..P {
            mixed[q * parts + part + p] = L::store(sums[q][p]);
        }
    }
}

/// Adds the codes of a value to the sums of each query.
#[inline(always)]
fn add_scaled<L: Level, const Q: usize, const P: usize>(
    weights: &[[f32; P]; Q],
    value: [L::Lanes; P],
    mut sums: [[L::Lanes; P]; Q],
) -> [[L::Lanes; P]; Q] {
    for q in 0..Q {
        for p in 0..P {
            sums[q][p] = L::fma(L::splat(weights[q][p]), value[p], sums[q][p]);
        }
    }
    sums
}

/// Scores of `Q` queries with some keys of a head.
struct MultiplyKeys<'a, const Q: usize> {
    /// `[groups, Q]`.
    queries: &'a [[f32; LANES]],
    query_codes: &'a mut Vec<QueryCodes>,
    all: CodedVectors<'a>,
    /// What is read next.
    values: &'a [i8],
    keys: Range<usize>,
    dim: usize,
    /// `[Q, keys]`, each row in whole [`LANES`].
    scores: &'a mut [f32],
}

impl<const Q: usize> IntegerKernel for MultiplyKeys<'_, Q> {
    #[inline(always)]
    fn run<L: IntegerLevel>(self) {
        let Self { queries, query_codes, all, values, keys, dim, scores } = self;
        query_codes.clear();
        for query in queries {
            let (codes, scale, half_sums) = round_group(query);
            let mut steps = [[0; INPUTS]; STEPS];
            steps.copy_from_slice(codes.as_chunks::<INPUTS>().0);
            let start = -L::BYTE_OFFSET * (half_sums[0] + half_sums[1]);
            query_codes.push(QueryCodes { steps, scale, start });
        }
        let (width, count) = (scores.len() / Q, keys.len());
        let codes = &all.codes[keys.start * dim..keys.end * dim];
        for first in (0..count).step_by(OUTPUTS) {
            let block = (keys.start + first) * dim..(keys.start + (first + OUTPUTS).min(count)) * dim;
            prefetch_all(&values[block.clone()], 0);
            prefetch_all(&all.codes[block], AHEAD);
            let mut sums = [L::splat(0.0); Q];
            for (group, queries) in query_codes.as_chunks::<Q>().0.iter().enumerate() {
                let key_codes = interleaved::<L>(codes, dim, first..count, group);
                let own = CodedHead::scales(all, dim, group, keys.start + first..keys.end);
                let mut halves = [0; OUTPUTS];
                for key in 0..OUTPUTS.min(own.len()) {
                    halves[key] = own[key].to_bits();
                }
                let scale = L::widen_halves(halves);
                for q in 0..Q {
                    let mut whole = L::splat_sum(queries[q].start);
                    for step in 0..STEPS {
                        whole = L::add_bytes(whole, key_codes[step], queries[q].steps[step]);
                    }
                    let scale = L::multiply(scale, L::splat(queries[q].scale));
                    sums[q] = L::fma(L::to_floats(whole), scale, sums[q]);
                }
            }
            for q in 0..Q {
                scores[q * width + first..][..OUTPUTS].copy_from_slice(&L::store(sums[q]));
            }
        }
    }
}

/// Starts to load as many codes that lie so many bytes further.
#[inline(always)]
fn prefetch_all(codes: &[i8], bytes: usize) {
    for line in codes.chunks(CACHE_LINE) {
        prefetch_ahead(&line[0], bytes);
    }
}

/// A group of the keys in the order of [`IntegerLevel::interleave`]; the last key fills up what is missing.
#[inline(always)]
fn interleaved<L: IntegerLevel>(
    codes: &[i8],
    dim: usize,
    keys: Range<usize>,
    group: usize,
) -> [L::Codes; STEPS] {
    let (at, len) = (group * GROUP, GROUP.min(dim - group * GROUP));
    if len == GROUP {
        let mut own = [&[0; GROUP]; OUTPUTS];
        for key in 0..OUTPUTS {
            let key_at = (keys.start + key).min(keys.end - 1) * dim + at;
            if let Some(whole) = codes[key_at..].first_chunk() {
                own[key] = whole;
            }
        }
        return L::interleave(own);
    }
    let mut padded = [[0; GROUP]; OUTPUTS];
    for key in 0..OUTPUTS {
        let key_at = (keys.start + key).min(keys.end - 1) * dim + at;
        padded[key][..len].copy_from_slice(&codes[key_at..key_at + len]);
    }
    let mut own = [&padded[0]; OUTPUTS];
    for key in 0..OUTPUTS {
        own[key] = &padded[key];
    }
    L::interleave(own)
}
