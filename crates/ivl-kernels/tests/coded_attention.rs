//! Attention over keys and values of eight bits, against the same sum over the numbers that the codes mean.

mod precise;

use std::ops::Range;

use half::f16;
use ivl_kernels::{CodedVectors, GroupedQueryAttention, KeysAndValues};
use precise::{close, has_fused_multiply_add, numbers};
use proptest::prelude::*;

/// Numbers between -1 and 1 of a linear congruential generator.
fn generator() -> impl FnMut(usize) -> Vec<f32> {
    let mut state = 3u32;
    move |len| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }
}

/// The nearest numbers that codes of a group mean, with a scale in the type of the group: f16 for keys and values, f32 for queries.
fn rounded(vector: &[f32], stored: impl Fn(f32) -> f32) -> Vec<f32> {
    let group = |group: &[f32]| -> Vec<f32> {
        let most = group.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let (scale, inverse) = if most > 1e-30 { (most / 127.0, 127.0 / most) } else { (0.0, 0.0) };
        group.iter().map(|x| (x * inverse).round_ties_even() * stored(scale)).collect()
    };
    vector.chunks(CodedVectors::GROUP).flat_map(group).collect()
}

/// Codes and scales of a cache.
struct Coded {
    codes: Vec<i8>,
    scales: Vec<f16>,
}

impl Coded {
    fn zeros(heads: usize, capacity: usize, dim: usize) -> Self {
        Self {
            codes: vec![0; heads * capacity * dim],
            scales: vec![f16::ZERO; heads * CodedVectors::groups(dim) * capacity],
        }
    }

    fn vectors(&self) -> CodedVectors<'_> {
        CodedVectors { codes: &self.codes, scales: &self.scales }
    }
}

/// A text of `batch` rows, `[batch, positions, kv_heads * dim]`.
struct Text {
    attention: GroupedQueryAttention<'static>,
    batch: usize,
    positions: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Text {
    /// The cache after all positions, which are appended `step` at a time.
    fn cached(&self, step: usize, free: usize) -> [Coded; 2] {
        let Self { attention, batch, positions, .. } = self;
        let (heads, width) = (batch * attention.kv_heads, attention.kv_heads * attention.dim);
        [&self.keys, &self.values].map(|numbers| {
            let mut coded = Coded::zeros(heads, positions + free, attention.dim);
            for first in (0..*positions).step_by(step) {
                let last = (first + step).min(*positions);
                let of_row = |row: usize| {
                    numbers[(row * positions + first) * width..(row * positions + last) * width].to_vec()
                };
                let new: Vec<f32> = (0..*batch).flat_map(of_row).collect();
                attention.append_codes(&mut coded.codes, &mut coded.scales, *batch, first, &new);
            }
            coded
        })
    }

    fn attend(&self, query: &[f32], [keys, values]: &[Coded; 2], seen: &[Range<usize>]) -> Vec<f32> {
        let cached = KeysAndValues::Int8(keys.vectors(), values.vectors());
        self.attention.attend(query, cached, self.batch, seen)
    }

    /// Softmax attention over the numbers that codes mean, of one query of a head.
    fn expected(&self, query: &[f32], row: usize, kv_head: usize, seen: Range<usize>) -> Vec<f64> {
        let GroupedQueryAttention { kv_heads, dim, scale, softcap, .. } = self.attention;
        let query = rounded(query, |scale| scale);
        let half = |scale| f16::from_f32(scale).to_f32();
        let at = |position: usize| ((row * self.positions + position) * kv_heads + kv_head) * dim;
        let one = |of: &[f32], position| rounded(&of[at(position)..][..dim], half);
        let dot = |position| -> f64 {
            let products = query.iter().zip(one(&self.keys, position));
            let score = f64::from(scale) * products.map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>();
            softcap.map_or(score, |cap| (score / f64::from(cap)).tanh() * f64::from(cap))
        };
        let weights: Vec<f64> = seen.clone().map(|position| dot(position).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut mixed = vec![0.0; dim];
        for (weight, position) in weights.iter().zip(seen) {
            for (mixed, value) in mixed.iter_mut().zip(one(&self.values, position)) {
                *mixed += weight / total * f64::from(value);
            }
        }
        mixed
    }
}

/// Query heads for each key head, key heads, width; rows, new positions, known positions, free positions.
fn sizes() -> impl Strategy<Value = ([usize; 3], [usize; 4])> {
    let heads = (1usize..6, 1usize..3, 1usize..140).prop_map(|(groups, kv, dim)| [groups, kv, dim]);
    let texts = (1usize..3, 1usize..40, 0usize..70, 0usize..3);
    (heads, texts.prop_map(|(batch, seq, known, free)| [batch, seq, known, free]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_is_softmax_over_the_numbers_of_the_codes(
        ([groups, kv_heads, dim], [batch, seq, known, free]) in sizes(),
        capped in any::<bool>(),
        step in 1usize..50,
        seed in numbers(97),
    ) {
        let softcap = capped.then_some(2.0);
        let attention =
            GroupedQueryAttention { heads: groups * kv_heads, kv_heads, dim, scale: 0.3, softcap, sinks: None };
        let positions = known + seq;
        // Some groups have outliers, and one has zeros only.
        let some = |len: usize, from: usize| -> Vec<f32> {
            let number = |at: usize| seed[(at * 7 + from) % 97] * if at.is_multiple_of(61) { 40.0 } else { 1.0 };
            (0..len).map(|at| if at < 32 { 0.0 } else { number(at) }).collect()
        };
        let width = kv_heads * dim;
        let (keys, values) = (some(batch * positions * width, 1), some(batch * positions * width, 5));
        let text = Text { attention, batch, positions, keys, values };
        let query: Vec<f32> = some(batch * seq * groups * width, 3).iter().map(|x| x / 256.0).collect();
        let cached = text.cached(positions, free);
        let seen: Vec<Range<usize>> =
            (0..batch * seq).map(|query| (query * 5 % 11).min(known)..known + query % seq + 1).collect();
        let got = text.attend(&query, &cached, &seen);
        let heads = groups * kv_heads;
        let mut expected = Vec::new();
        for (index, one) in query.chunks(dim).enumerate() {
            let (position, head) = (index / heads, index % heads / groups);
            expected.extend(text.expected(one, position / seq, head, seen[position].clone()));
        }
        close(&got, &expected, 40.0, 2e-5)?;
        // The same bits, however the cache was filled.
        let again = text.attend(&query, &text.cached(step, 3), &seen);
        prop_assert!(again == got, "other bits when {step} positions are appended at a time");
    }

    #[test]
    fn codes_are_the_nearest_of_their_group(vector in numbers(75), dim in 1usize..75) {
        let attention =
            GroupedQueryAttention { heads: 1, kv_heads: 1, dim, scale: 1.0, softcap: None, sinks: None };
        let mut coded = Coded::zeros(1, 2, dim);
        attention.append_codes(&mut coded.codes, &mut coded.scales, 1, 1, &vector[..dim]);
        for (at, (code, number)) in coded.codes[dim..].iter().zip(&vector[..dim]).enumerate() {
            let scale = coded.scales[at / CodedVectors::GROUP * 2 + 1].to_f32();
            // Half a step, and what the scale loses in half precision.
            let error = (f32::from(*code) * scale - number).abs();
            prop_assert!(error <= scale * 0.57, "{number} as {code} times {scale}");
        }
        prop_assert!(coded.codes[..dim].iter().all(|code| *code == 0), "the position before stays");
    }
}

/// Contexts of several parts, of which threads take turns where there are few queries.
#[test]
fn a_query_over_a_long_context_gives_the_same_bits_alone() {
    for dim in [40, 64, 128] {
        let (heads, kv_heads, batch, seq, known) = (6, 2, 2, 60, 1000);
        let mut some = generator();
        let attention =
            GroupedQueryAttention { heads, kv_heads, dim, scale: 0.2, softcap: None, sinks: None };
        let positions = known + seq;
        let (keys, values) =
            (some(batch * positions * kv_heads * dim), some(batch * positions * kv_heads * dim));
        let text = Text { attention, batch, positions, keys, values };
        let cached = text.cached(positions, 9);
        let query = some(batch * seq * heads * dim);
        for window in [usize::MAX, 300] {
            let seen: Vec<Range<usize>> = (0..batch * seq)
                .map(|query| (query / seq * 3, known + query % seq + 1))
                .map(|(start, end)| start.max(end.saturating_sub(window))..end)
                .collect();
            let got = text.attend(&query, &cached, &seen);
            for position in [0, 17, 31, 32, seq - 1] {
                let numbers = |row: usize| {
                    (row * seq + position) * heads * dim..(row * seq + position + 1) * heads * dim
                };
                let alone: Vec<f32> = (0..batch).flat_map(|row| query[numbers(row)].to_vec()).collect();
                let ranges: Vec<_> = (0..batch).map(|row| seen[row * seq + position].clone()).collect();
                let alone = text.attend(&alone, &cached, &ranges);
                for (row, alone) in alone.chunks(heads * dim).enumerate() {
                    assert!(
                        alone == &got[numbers(row)],
                        "dim {dim}: other bits of position {position} alone"
                    );
                    let expected = text.expected(
                        &query[numbers(row)][..dim],
                        row,
                        0,
                        seen[row * seq + position].clone(),
                    );
                    close(&alone[..dim], &expected, 1.0, 4e-6).expect("softmax");
                }
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_shows_only_where_its_position_is_seen() {
    let attention =
        GroupedQueryAttention { heads: 1, kv_heads: 1, dim: 64, scale: 1.0, softcap: None, sinks: None };
    let mut values = vec![1.0; 20 * 64];
    values[7 * 64 + 40] = f32::INFINITY;
    let text = Text { attention, batch: 1, positions: 20, keys: vec![0.5; 20 * 64], values };
    let cached = text.cached(20, 0);
    let seen = [0..7, 8..20, 0..20];
    let got = text.attend(&[0.25; 3 * 64], &cached, &seen);
    assert!(got[..128].iter().all(|x| (x - 1.0).abs() < 1e-3), "{:?}", &got[..128]);
    assert!(got[128..160].iter().all(|x| x.is_finite()) && got[160..].iter().all(|x| x.is_nan()));
}

/// AVX2, AVX-512 and 64-bit ARM give one checksum of bits, as `docs/cpu.md` says.
#[test]
fn processors_with_fused_multiply_add_give_the_same_bits() {
    if !has_fused_multiply_add() {
        return;
    }
    let mut some = generator();
    let hash = |numbers: &[f32]| {
        let bytes = numbers.iter().flat_map(|number| number.to_bits().to_le_bytes());
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        })
    };
    let hashes = [40, 64, 136].map(|dim| {
        let attention =
            GroupedQueryAttention { heads: 6, kv_heads: 2, dim, scale: 0.3, softcap: None, sinks: None };
        let (keys, values) = (some(2 * 300 * 2 * dim), some(2 * 300 * 2 * dim));
        let text = Text { attention, batch: 2, positions: 300, keys, values };
        let seen: Vec<_> = (0..40).map(|query| query / 7..270 + query % 20).collect();
        hash(&text.attend(&some(2 * 20 * 6 * dim), &text.cached(300, 0), &seen))
    });
    assert_eq!(
        hashes,
        [0x40DE_755C_C2DB_859A, 0x0F5E_B6A2_4908_7157, 0xF39E_5CD0_AAAA_B5A5],
        "attention over codes"
    );
}

/// Elsewhere there are none.
#[cfg(target_arch = "x86_64")]
#[test]
fn lower_levels_pass_the_same_tests() {
    precise::pass_at_lower_levels();
}
