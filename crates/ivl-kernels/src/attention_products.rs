//! Products of queries with keys, and of weights with values.
//!
//! A product of a query with a key is the sum of [`LANES`] sums, of which each takes every 32nd number, added up by halves. For
//! few queries these lie side by side in a register. For many, the keys of a block are transposed first: a register then has one of
//! these sums for each key, and nothing is added up across it. The order of operations, and so each bit, is the same.

use std::ops::Range;

use crate::cpu::{LANES, Level};

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

/// Codes, without their scales.
impl Stored for i8 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn load<L: Level>(numbers: &[i8; LANES]) -> L::Lanes {
        L::widen_bytes(numbers)
    }
}

/// The last numbers of a head, filled up with zeros.
#[inline(always)]
pub(crate) fn load_rest<L: Level, T: Stored>(rest: &[T]) -> L::Lanes {
    let mut padded = [T::ZERO; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    T::load::<L>(&padded)
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
    // Two loops: a call that fills up the last part would take the sums out of the registers.
    if part + P <= dim / LANES {
        for key in block {
            let value = values[key * dim..][..dim].as_chunks::<LANES>().0;
            let mut lanes = [L::splat(0.0); P];
            for p in 0..P {
                lanes[p] = T::load::<L>(&value[part + p]);
            }
            sums = add_weighted::<L, Q, P>(weights, width, key, lanes, sums);
        }
    } else {
        for key in block {
            let value = &values[key * dim..][..dim];
            let mut lanes = [L::splat(0.0); P];
            for p in 0..P {
                let rest = &value[((part + p) * LANES).min(dim)..];
                lanes[p] = load_rest::<L, T>(&rest[..LANES.min(rest.len())]);
            }
            sums = add_weighted::<L, Q, P>(weights, width, key, lanes, sums);
        }
    }
    for q in 0..Q {
        for p in 0..P {
            mixed[q * parts + part + p] = L::store(sums[q][p]);
        }
    }
}

/// Adds the value of a key to the sums of each query.
#[inline(always)]
fn add_weighted<L: Level, const Q: usize, const P: usize>(
    weights: &[f32],
    width: usize,
    key: usize,
    value: [L::Lanes; P],
    mut sums: [[L::Lanes; P]; Q],
) -> [[L::Lanes; P]; Q] {
    for q in 0..Q {
        let weight = L::splat(weights[q * width + key]);
        for p in 0..P {
            sums[q][p] = L::fma(weight, value[p], sums[q][p]);
        }
    }
    sums
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

/// Numbers of a cache in single precision.
#[inline(always)]
pub(crate) fn widen<L: Level, T: Stored>(numbers: &[T], wide: &mut Vec<f32>) {
    wide.clear();
    wide.resize(numbers.len(), 0.0);
    for (to, from) in wide.as_chunks_mut::<LANES>().0.iter_mut().zip(numbers.as_chunks::<LANES>().0) {
        *to = L::store(T::load::<L>(from));
    }
}

/// Brings keys into the order of [`transposed_dot_products`].
///
/// # Shapes
/// - `keys`: `[keys, dim]`
/// - `transposed`: `[chunks, dim, LANES]`, where a chunk has [`LANES`] keys; zeros after the last key
#[inline(always)]
pub(crate) fn transpose(keys: &[f32], dim: usize, transposed: &mut Vec<[f32; LANES]>) {
    transposed.clear();
    transposed.resize((keys.len() / dim).div_ceil(LANES) * dim, [0.0; LANES]);
    for (keys, chunk) in keys.chunks(LANES * dim).zip(transposed.chunks_exact_mut(dim)) {
        for (lane, key) in keys.chunks_exact(dim).enumerate() {
            for (to, number) in chunk.iter_mut().zip(key) {
                to[lane] = *number;
            }
        }
    }
}

/// `q . k` of `Q` queries with the [`LANES`] keys of a chunk; a query has `PARTS` times [`LANES`] numbers.
///
/// # Shapes
/// - `keys`: `[PARTS * LANES, LANES]`
#[inline(always)]
pub(crate) fn transposed_dot_products<L: Level, const Q: usize, const PARTS: usize>(
    queries: [&[f32]; Q],
    keys: &[[f32; LANES]],
) -> [[f32; LANES]; Q] {
    let keys = &keys[..PARTS * LANES];
    let mut own = queries;
    for q in 0..Q {
        own[q] = &queries[q][..PARTS * LANES];
    }
    let mut quarters = [[L::splat(0.0); Q]; 4];
    for lane in 0..4 {
        let near = eighth::<L, Q, PARTS>(own, keys, lane);
        quarters[lane] = added::<L, Q>(near, eighth::<L, Q, PARTS>(own, keys, lane + 4));
    }
    let [a, b, c, d] = quarters;
    let sums = added::<L, Q>(added::<L, Q>(a, c), added::<L, Q>(b, d));
    let mut products = [[0.0; LANES]; Q];
    for q in 0..Q {
        products[q] = L::store(sums[q]);
    }
    products
}

/// The sum of every eighth of the sums from `lane` on.
#[inline(always)]
fn eighth<L: Level, const Q: usize, const PARTS: usize>(
    queries: [&[f32]; Q],
    keys: &[[f32; LANES]],
    lane: usize,
) -> [L::Lanes; Q] {
    let near = every_32nd::<L, Q, PARTS>(queries, keys, lane);
    let near = added::<L, Q>(near, every_32nd::<L, Q, PARTS>(queries, keys, lane + 16));
    let far = every_32nd::<L, Q, PARTS>(queries, keys, lane + 8);
    let far = added::<L, Q>(far, every_32nd::<L, Q, PARTS>(queries, keys, lane + 24));
    added::<L, Q>(near, far)
}

/// The sum of every 32nd product from `lane` on.
#[inline(always)]
fn every_32nd<L: Level, const Q: usize, const PARTS: usize>(
    queries: [&[f32]; Q],
    keys: &[[f32; LANES]],
    lane: usize,
) -> [L::Lanes; Q] {
    let mut sums = [L::splat(0.0); Q];
    for part in 0..PARTS {
        let at = part * LANES + lane;
        let key = L::load(&keys[at]);
        for q in 0..Q {
            sums[q] = L::fma(L::splat(queries[q][at]), key, sums[q]);
        }
    }
    sums
}

#[inline(always)]
fn added<L: Level, const Q: usize>(a: [L::Lanes; Q], b: [L::Lanes; Q]) -> [L::Lanes; Q] {
    let mut sums = a;
    for q in 0..Q {
        sums[q] = L::add(a[q], b[q]);
    }
    sums
}
