//! Every kernel against the same sum in plain double precision, at every level of instructions that the processor has.

mod precise;

use std::ops::Range;

use half::f16;
use ivl_kernels::{
    ActivationFn, GroupedQueryAttention, KeysAndValues, Matrix, MemoryProbe, Normalization, PackedFormat,
    RotaryEmbedding, RotaryPairing, SoftmaxStats, argmax, kl_divergence, parallel, products, softmax_weights,
};
use precise::{close, has_fused_multiply_add, numbers};
use proptest::collection::vec;
use proptest::prelude::*;

const FORMATS: [PackedFormat; 2] = [PackedFormat::F32, PackedFormat::F16];

fn assert_close(got: &[f32], expected: &[f64], scale: f64) -> Result<(), TestCaseError> {
    close(got, expected, scale, 2e-6)
}

fn product(x: &[f32], matrix: &Matrix) -> Vec<f64> {
    let [inputs, outputs] = matrix.shape();
    let weights: Vec<Vec<f32>> = (0..outputs).map(|output| matrix.output(output)).collect();
    let one = |row: &[f32], weights: &Vec<f32>| -> f64 {
        row.iter().zip(weights).map(|(x, weight)| f64::from(*x) * f64::from(*weight)).sum()
    };
    let one = &one;
    x.chunks(inputs).flat_map(|row| weights.iter().map(move |weights| one(row, weights))).collect()
}

prop_compose! {
    fn operands()(rows in 1usize..40, inputs in 1usize..150, outputs in 1usize..100)
        (x in numbers(rows * inputs), w in numbers(inputs * outputs), shape in Just([inputs, outputs]))
        -> (Vec<f32>, Vec<f32>, [usize; 2]) {
        (x, w, shape)
    }
}

/// Query heads for each key head, key heads, width; rows, new positions, known positions, free positions.
type Sizes = ([usize; 3], [usize; 4]);

fn sizes() -> impl Strategy<Value = Sizes> {
    let heads = (1usize..4, 1usize..3, 1usize..80).prop_map(|(groups, kv, dim)| [groups, kv, dim]);
    let texts = (1usize..4, 1usize..40, 0usize..70, 0usize..3);
    (heads, texts.prop_map(|(batch, seq, known, free)| [batch, seq, known, free]))
}

prop_compose! {
    fn texts()(([groups, kv, dim], [batch, seq, known, free]) in sizes(), by_row in any::<bool>())
        (query in numbers(batch * seq * groups * kv * dim), keys in numbers(batch * kv * (known + seq + free) * dim),
         values in numbers(batch * kv * (known + seq + free) * dim), starts in vec(0..known + seq, batch * seq),
         sizes in Just(([groups, kv, dim], [batch, seq, known, free])), by_row in Just(by_row))
        -> (Sizes, [Vec<f32>; 3], Vec<Range<usize>>) {
        let (_, [batch, seq, known, _]) = sizes;
        let seen = (0..batch * seq).map(|query| {
            let end = known + query % seq + 1;
            // One start for each row, as in texts, or one for each query, as in a window.
            let start = starts[if by_row { query / seq * seq } else { query }];
            start.min(end)..end
        });
        (sizes, [query, keys, values], seen.collect())
    }
}

/// Softmax attention of one query.
fn mixed(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], scale: f64, cap: Option<f64>) -> Vec<f64> {
    let dot = |key: &Vec<f32>| -> f64 {
        let score = scale * query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        cap.map_or(score, |cap| (score / cap).tanh() * cap)
    };
    let weights: Vec<f64> = keys.iter().map(|key| dot(key).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mix = |at: usize| -> f64 {
        weights.iter().zip(values).map(|(weight, value)| weight / total * f64::from(value[at])).sum()
    };
    (0..query.len()).map(|at| if keys.is_empty() { 0.0 } else { mix(at) }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_sums((x, w, [inputs, outputs]) in operands()) {
        for format in FORMATS {
            let matrix = Matrix::new(format, [inputs, outputs], |input, output| w[input * outputs + output]);
            let [y] = products(&x, [&matrix]);
            assert_close(&y, &product(&x, &matrix), inputs as f64)?;
            // A single row, and a row beside other matrices, gives the same bits.
            for (row, y) in x.chunks(inputs).zip(y.chunks(outputs)) {
                let [one, again] = products(row, [&matrix, &matrix]);
                prop_assert!(one == y && again == y, "{format:?}: a row alone gives other bits");
            }
        }
    }

    #[test]
    fn packed_numbers_are_near_the_originals((_, w, [inputs, outputs]) in operands()) {
        let matrices = FORMATS
            .map(|format| Matrix::new(format, [inputs, outputs], |input, output| w[input * outputs + output]));
        for output in 0..outputs {
            let [single, half] = matrices.each_ref().map(|matrix| matrix.output(output));
            for (input, (single, half)) in single.iter().zip(&half).enumerate() {
                let original = w[input * outputs + output];
                prop_assert_eq!(*single, original);
                prop_assert!((half - original).abs() <= original.abs() / 2048.0 + 3e-8);
            }
        }
    }

    #[test]
    fn attention_is_softmax((sizes, [query, keys, values], seen) in texts(), capped in any::<bool>()) {
        let ([groups, kv_heads, dim], [batch, seq, known, free]) = sizes;
        let (heads, capacity, scale) = (groups * kv_heads, known + seq + free, 0.3);
        let cap = capped.then_some(2.0);
        let attention = GroupedQueryAttention { heads, kv_heads, dim, scale, softcap: cap, sinks: None };
        let got = attention.attend(&query, KeysAndValues::F32(&keys, &values), batch, &seen);
        let mut expected = Vec::new();
        for (index, one) in query.chunks(dim).enumerate() {
            let (position, head) = (index / heads, index % heads / groups);
            let at = |key: usize| ((position / seq * kv_heads + head) * capacity + key) * dim;
            let seen = seen[position].clone();
            let some = |of: &[f32]| -> Vec<Vec<f32>> { seen.clone().map(|key| of[at(key)..][..dim].to_vec()).collect() };
            expected.extend(mixed(one, &some(&keys), &some(&values), f64::from(scale), cap.map(f64::from)));
        }
        assert_close(&got, &expected, 4.0)?;
        // The last position of each row by itself gives the same bits.
        let last = |row: usize| (row + 1) * seq - 1..(row + 1) * seq;
        let alone: Vec<f32> = (0..batch).flat_map(|row| query[last(row).start * heads * dim..][..heads * dim].to_vec()).collect();
        let ranges: Vec<Range<usize>> = (0..batch).map(|row| seen[last(row).start].clone()).collect();
        let alone = attention.attend(&alone, KeysAndValues::F32(&keys, &values), batch, &ranges);
        for (row, alone) in alone.chunks(heads * dim).enumerate() {
            prop_assert!(alone == &got[last(row).start * heads * dim..][..heads * dim], "other bits alone");
        }
    }

    #[test]
    fn norms_are_their_formulas(width in 1usize..100, rows in 1usize..4, seed in numbers(1200)) {
        let (x, weight, bias) = (&seed[..width * rows], &seed[400..400 + width], &seed[800..800 + width]);
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let eps = 1e-3;
        let (mut rms, mut layer, mut without_bias) = (Vec::new(), Vec::new(), Vec::new());
        for row in x.chunks(width) {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let squares = |row: &[f64]| (mean(&row.iter().map(|x| x * x).collect::<Vec<_>>()) + f64::from(eps)).sqrt();
            let centred: Vec<f64> = row.iter().map(|x| x - mean(&row)).collect();
            let (own, of_centred) = (squares(&row), squares(&centred));
            rms.extend(row.iter().zip(weight).map(|(x, w)| x / own * (f64::from(*w) + 1.0)));
            let scaled = centred.iter().zip(weight).map(|(x, w)| x / of_centred * (f64::from(*w) + 0.5));
            without_bias.extend(scaled.clone());
            layer.extend(scaled.zip(bias).map(|(x, b)| x + f64::from(*b)));
        }
        assert_close(&Normalization::Rms { weight, offset: 1.0 }.apply(x, eps), &rms, 10.0)?;
        assert_close(&Normalization::Layer { weight, offset: 0.5, bias }.apply(x, eps), &layer, 100.0)?;
        assert_close(&Normalization::Layer { weight, offset: 0.5, bias: &[] }.apply(x, eps), &without_bias, 100.0)?;
    }

    #[test]
    fn gates_are_their_formulas(x in vec(-40.0f32..40.0, 1..100)) {
        let double: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let tanh = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
        let check = |gate: ActivationFn, formula: &dyn Fn(f64) -> f64| {
            let expected: Vec<f64> = double.iter().map(|&x| formula(x)).collect();
            let mut got = x.clone();
            gate.apply(&mut got);
            assert_close(&got, &expected, 1.0)?;
            let mut product = x.clone();
            gate.apply_to(&mut product, &x);
            let squared: Vec<f64> = expected.iter().zip(&double).map(|(a, b)| a * b).collect();
            assert_close(&product, &squared, 40.0)
        };
        check(ActivationFn::Silu, &|x| x * sigmoid(x))?;
        check(ActivationFn::QuickGelu, &|x| x * sigmoid(1.702 * x))?;
        check(ActivationFn::GeluTanh, &tanh)?;
    }
}

/// Enough rows for several groups, and for several threads: each row gives the bits of a single row.
#[test]
fn many_rows_are_as_each_alone() {
    let (rows, inputs) = (100, 4096);
    let x: Vec<f32> = (0..rows * inputs).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let matrix =
        Matrix::new(PackedFormat::F32, [inputs, 70], |input, output| ((input * 13 + output) % 7) as f32);
    let [y] = products(&x, [&matrix]);
    let (weight, angles) = (vec![0.5; inputs], vec![0.6; 64]);
    let normed = Normalization::Rms { weight: &weight, offset: 0.0 }.apply(&x, 1e-5);
    let (pairing, cos, sin) = (RotaryPairing::Half, &angles, &angles);
    let rotation = RotaryEmbedding { heads: 32, dim: 128, pairs: 64, pairing, cos, sin };
    let turn = |x: &mut [f32]| rotation.rotate(x);
    let (mut turned, mut gated) = (x.clone(), x.clone());
    turn(&mut turned);
    ActivationFn::Silu.apply_to(&mut gated, &x);
    for (row, x) in x.chunks(inputs).enumerate() {
        let own = row * inputs..(row + 1) * inputs;
        let [alone] = products(x, [&matrix]);
        assert!(alone == y[row * 70..(row + 1) * 70], "product of row {row}");
        assert!(
            Normalization::Rms { weight: &weight, offset: 0.0 }.apply(x, 1e-5) == normed[own.clone()],
            "norm {row}"
        );
        let (mut rotated, mut gate) = (x.to_vec(), x.to_vec());
        turn(&mut rotated);
        assert!(rotated == turned[own.clone()], "rotation {row}");
        ActivationFn::Silu.apply_to(&mut gate, x);
        assert!(gate == gated[own], "gate {row}");
    }
}

#[test]
fn a_probe_reads_all_of_its_memory_once() {
    for bytes in [0, 1, 512, 100_000, 3_000_001] {
        let probe = MemoryProbe::new(bytes);
        assert!(probe.bytes() >= bytes && probe.bytes() < bytes + 1024, "{bytes}");
        assert_eq!(probe.read(), probe.bytes() as f64 / 4.0, "{bytes}");
    }
}

/// Contexts of several parts, of which threads take turns where there are few queries, in both types of a cache.
#[test]
fn attention_over_long_contexts_is_softmax_with_the_same_bits_alone() {
    // Keys of 64 and 128 numbers are transposed for many queries. After 224 tokens the first queries see one part less than the others.
    for dim in [40, 64, 128] {
        for cached in [1000, 224] {
            check_long_contexts(dim, cached);
        }
    }
}

fn check_long_contexts(dim: usize, cached: usize) {
    let (heads, kv_heads, capacity, batch, seq) = (6, 2, 1100, 2, 60);
    let mut state = 7u32;
    let mut some = |len: usize| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    };
    let query = some(batch * seq * heads * dim);
    let [keys, values] = [(); 2].map(|()| -> Vec<f16> {
        some(batch * kv_heads * capacity * dim).into_iter().map(|x| f16::from_f32(x * 4.0)).collect()
    });
    let [wide_keys, wide_values] =
        [&keys, &values].map(|numbers| numbers.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
    let sinks = [0.5, -1.0, 2.0, 30.0, -30.0, 0.0];
    for (window, sinks) in [(usize::MAX, None), (300, None), (usize::MAX, Some(&sinks[..]))] {
        let attention = GroupedQueryAttention { heads, kv_heads, dim, scale: 0.2, softcap: None, sinks };
        let seen: Vec<Range<usize>> = (0..batch * seq)
            .map(|query| (query / seq * 3, cached + query % seq))
            .map(|(start, end)| start.max((end + 1).saturating_sub(window)).min(end + 1)..end + 1)
            .collect();
        let got = attention.attend(&query, KeysAndValues::F32(&wide_keys, &wide_values), batch, &seen);
        let halves = attention.attend(&query, KeysAndValues::F16(&keys, &values), batch, &seen);
        assert!(got == halves, "half precision is widened without rounding");
        for (position, seen) in seen.iter().enumerate().filter(|(position, _)| position % 13 == 0) {
            for head in 0..heads {
                let at = |key| ((position / seq * kv_heads + head / 3) * capacity + key) * dim;
                let some = |of: &[f32]| -> Vec<Vec<f32>> {
                    seen.clone().map(|key| of[at(key)..][..dim].to_vec()).collect()
                };
                let index = (position * heads + head) * dim;
                let expected = match sinks {
                    None => mixed(
                        &query[index..][..dim],
                        &some(&wide_keys),
                        &some(&wide_values),
                        f64::from(0.2f32),
                        None,
                    ),
                    Some(sinks) => mixed_with_sink(
                        &query[index..][..dim],
                        &some(&wide_keys),
                        &some(&wide_values),
                        sinks[head],
                    ),
                };
                assert_close(&got[index..][..dim], &expected, 4.0).expect("softmax");
            }
        }
        for position in [0, 17, 31, 32, seq - 1] {
            let numbers =
                |row: usize| (row * seq + position) * heads * dim..(row * seq + position + 1) * heads * dim;
            let alone: Vec<f32> = (0..batch).flat_map(|row| query[numbers(row)].to_vec()).collect();
            let ranges: Vec<Range<usize>> =
                (0..batch).map(|row| seen[row * seq + position].clone()).collect();
            let alone = attention.attend(&alone, KeysAndValues::F16(&keys, &values), batch, &ranges);
            for (row, alone) in alone.chunks(heads * dim).enumerate() {
                assert!(alone == &got[numbers(row)], "dim {dim}: other bits of position {position} alone");
            }
        }
    }
}

/// [`mixed`] with a score that has no value.
fn mixed_with_sink(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], sink: f32) -> Vec<f64> {
    let dot = |key: &Vec<f32>| -> f64 {
        f64::from(0.2f32) * query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let weights: Vec<f64> = keys.iter().map(|key| dot(key).exp()).collect();
    let total: f64 = weights.iter().sum::<f64>() + f64::from(sink).exp();
    let mix = |at: usize| -> f64 {
        weights.iter().zip(values).map(|(weight, value)| weight / total * f64::from(value[at])).sum()
    };
    (0..query.len()).map(mix).collect()
}

#[test]
fn new_keys_stand_behind_the_known_ones_of_their_row_and_head() {
    let attention =
        GroupedQueryAttention { heads: 2, kv_heads: 2, dim: 1, scale: 1.0, softcap: None, sinks: None };
    let mut buffer = vec![0.0; 2 * 2 * 4];
    attention.append(&mut buffer, 2, 1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let expected = [0.0, 1.0, 3.0, 0.0, 0.0, 2.0, 4.0, 0.0, 0.0, 5.0, 7.0, 0.0, 0.0, 6.0, 8.0, 0.0];
    assert_eq!(buffer, expected);
    let mut halves = vec![f16::ZERO; 2 * 2 * 4];
    attention.append(&mut halves, 2, 1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(halves, expected.map(f16::from_f32));
}

#[test]
fn pairs_turn_by_the_angle_of_their_position() {
    // Two rows of two positions, one head of width 3 with one pair.
    let mut x = [1.0, 0.0, 9.0, 1.0, 0.0, 9.0, 0.0, 1.0, 9.0, 0.0, 1.0, 9.0];
    let (pairing, cos, sin): (_, &[f32], &[f32]) = (RotaryPairing::Half, &[1.0, 0.0], &[0.0, 1.0]);
    let rotation = RotaryEmbedding { heads: 1, dim: 3, pairs: 1, pairing, cos, sin };
    rotation.rotate(&mut x);
    assert_eq!(x, [1.0, 0.0, 9.0, 0.0, 1.0, 9.0, 0.0, 1.0, 9.0, -1.0, 0.0, 9.0]);
    // A quarter turn of two pairs: halves, then neighbours.
    let (pairs, cos, sin): (_, &[f32], &[f32]) = (2, &[0.0, 0.0], &[1.0, 1.0]);
    let turn = |pairing| {
        let mut x = [1.0, 2.0, 3.0, 4.0, 9.0];
        RotaryEmbedding { heads: 1, dim: 5, pairs, pairing, cos, sin }.rotate(&mut x);
        x
    };
    assert_eq!(turn(RotaryPairing::Half), [-3.0, -4.0, 1.0, 2.0, 9.0]);
    assert_eq!(turn(RotaryPairing::Interleaved), [-2.0, 1.0, -4.0, 3.0, 9.0]);
}

#[test]
fn every_unit_is_done_once_whoever_calls() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let count = |units: usize| {
        let done: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
        parallel(units, |unit| {
            // From inside a unit the caller does the work.
            parallel(2, |_| {
                done[unit].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 2));
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|round| count(round % 7)));
        }
    });
}

#[test]
fn a_panic_in_a_unit_reaches_the_caller_and_the_next_job_runs() {
    for _ in 0..20 {
        let outcome = std::panic::catch_unwind(|| parallel(8, |unit| assert_ne!(unit, 5, "as intended")));
        assert!(outcome.is_err());
        parallel(8, |_| ());
    }
}

#[test]
fn every_half_is_itself() {
    let halves: Vec<f32> =
        (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).filter(|x| !x.is_nan()).collect();
    let matrix = Matrix::new(PackedFormat::F16, [1, halves.len()], |_, output| halves[output]);
    let [y] = products(&[1.0], [&matrix]);
    assert!(y == halves, "of {} halves", halves.len());
}

/// AVX2, AVX-512 and 64-bit ARM give one checksum of bits, as `docs/cpu.md` says.
#[test]
fn processors_with_fused_multiply_add_give_the_same_bits() {
    if !has_fused_multiply_add() {
        return;
    }
    // Numbers between -1 and 1 of a linear congruential generator.
    let mut state = 1u32;
    let mut some = |len: usize| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    };
    // FNV-1a.
    let hash = |numbers: &[f32]| {
        let bytes = numbers.iter().flat_map(|number| number.to_bits().to_le_bytes());
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        })
    };
    let (rows, inputs, outputs) = (17, 205, 333);
    let (x, w) = (some(rows * inputs), some(inputs * outputs));
    let product = |format| {
        let matrix = Matrix::new(format, [inputs, outputs], |input, output| w[input * outputs + output]);
        let [all] = products(&x, [&matrix]);
        let [one] = products(&x[..inputs], [&matrix]);
        hash(&[all, one].concat())
    };
    let mixed = [None, Some(2.0)].map(|softcap| {
        let attention =
            GroupedQueryAttention { heads: 6, kv_heads: 2, dim: 72, scale: 0.3, softcap, sinks: None };
        let (query, keys, values) = (some(2 * 20 * 6 * 72), some(2 * 2 * 90 * 72), some(2 * 2 * 90 * 72));
        let seen: Vec<_> = (0..40).map(|query| query / 7..70 + query % 20).collect();
        hash(&attention.attend(&query, KeysAndValues::F32(&keys, &values), 2, &seen))
    });
    let (weight, bias) = (some(inputs), some(inputs));
    let normed = [
        Normalization::Rms { weight: &weight, offset: 1.0 },
        Normalization::Layer { weight: &weight, offset: 0.0, bias: &bias },
    ]
    .map(|norm| hash(&norm.apply(&x, 1e-5)));
    let gates = [ActivationFn::Silu, ActivationFn::GeluTanh, ActivationFn::QuickGelu].map(|gate| {
        let mut x: Vec<f32> = x.iter().map(|x| x * 8.0).collect();
        gate.apply(&mut x);
        hash(&x)
    });
    assert_eq!(FORMATS.map(product), [0x90BB_6E2D_DD12_3E48, 0xD7C0_7D15_1B17_CCF6], "products");
    assert_eq!(mixed, [0x2AFD_29CB_B7DB_4EE8, 0xA793_93E5_753A_642C], "attention");
    assert_eq!(normed, [0x19DC_3F87_6FBB_51A4, 0x49D6_3736_C47A_336A], "norms");
    assert_eq!(gates, [0x3CE0_012F_E009_2681, 0xEF67_3624_06D9_3048, 0x0C3C_994D_1E72_5B2B], "gates");
    assert_eq!(hash(&softmax_weights(&x, 1.0, 0.7)), 0xE7AA_898A_E9C0_A52E, "weights of a distribution");
}

/// Elsewhere there are none.
#[cfg(target_arch = "x86_64")]
#[test]
fn lower_levels_pass_the_same_tests() {
    precise::pass_at_lower_levels();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_over_distributions_are_their_formulas(
        logits in vec((prop_oneof![9 => -30.0f32..30.0, 1 => Just(f32::NEG_INFINITY)], -30.0f32..30.0), 1..2500),
        temperature in 0.1f32..10.0,
    ) {
        let (p, q): (Vec<f32>, Vec<f32>) = logits.into_iter().unzip();
        let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assume!(largest > f32::NEG_INFINITY);
        let [of_p, of_q] = [&p, &q].map(|logits| SoftmaxStats::new(logits));
        let log_sum = |of: &[f32]| of.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        let (log_p, log_q) = (log_sum(&p), log_sum(&q));
        prop_assert!((of_p.log_normalizer() - log_p).abs() < 1e-6, "{} for {log_p}", of_p.log_normalizer());
        prop_assert_eq!(argmax(&p), p.iter().position(|&x| x == largest));
        let (mut entropy, mut divergence_) = (0.0, 0.0);
        for (&p, &q) in p.iter().zip(&q).filter(|(p, _)| **p > f32::NEG_INFINITY) {
            let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
            entropy -= p.exp() * p;
            divergence_ += p.exp() * (p - q);
        }
        prop_assert!((of_p.entropy() - entropy).abs() < 1e-5, "{} for {entropy}", of_p.entropy());
        let got = kl_divergence([&p, &q], [&of_p, &of_q]);
        prop_assert!((got - divergence_).abs() < 2e-5, "{got} for {divergence_}");
        let expected: Vec<f64> =
            p.iter().map(|&x| (f64::from(x - largest) / f64::from(temperature)).exp()).collect();
        assert_close(&softmax_weights(&p, largest, temperature), &expected, 1.0)?;
    }
}

#[test]
fn distributions_without_tokens_or_numbers_say_so() {
    let nothing = SoftmaxStats::new(&[f32::NEG_INFINITY; 40]);
    assert_eq!((nothing.sum_exp, nothing.log_normalizer()), (0.0, f64::NEG_INFINITY));
    assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), None);
    assert_eq!(argmax(&[f32::NAN, 1.0, f32::NAN, 1.0]), Some(1));
    assert!(
        SoftmaxStats::new(&[0.0, f32::NAN]).sum_exp.is_nan()
            && SoftmaxStats::new(&[f32::NAN; 3]).sum_exp.is_nan()
    );
    let (p, q) = ([0.0, 0.0], [0.0, f32::NEG_INFINITY]);
    assert_eq!(kl_divergence([&p, &q], [&SoftmaxStats::new(&p), &SoftmaxStats::new(&q)]), f64::INFINITY);
}
