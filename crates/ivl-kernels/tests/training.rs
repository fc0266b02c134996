//! The kernels of a training step against the same formulas in plain double precision, at every level of instructions.

mod precise;

use ivl_kernels::{
    ActivationFn, AdamW, DenseMatrix, Distillation, Normalization, Objective, Penalties, TeacherRows,
    multiply,
};
use precise::{close, numbers};
use proptest::collection::vec;
use proptest::prelude::*;

fn assert_close(got: &[f32], expected: &[f64], scale: f64) -> Result<(), TestCaseError> {
    close(got, expected, scale, 4e-6)
}

/// The derivative of a function by each of its numbers, by differences.
fn slopes(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let moved = |index: usize, by: f64| {
        let mut x = x.to_vec();
        x[index] += by;
        f(&x)
    };
    (0..x.len()).map(|index| (moved(index, step) - moved(index, -step)) / (2.0 * step)).collect()
}

fn double(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

fn dot(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
}

/// Columns for rows.
fn turned(numbers: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| numbers[row * columns + column])).collect()
}

fn assert_multiplies(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Result<(), TestCaseError> {
    let sum = |row: usize, column: usize| -> f64 {
        (0..k).map(|term| f64::from(a[row * k + term]) * f64::from(b[term * n + column])).sum()
    };
    let expected: Vec<f64> = (0..m).flat_map(|row| (0..n).map(move |column| sum(row, column))).collect();
    let (a_turned, b_turned) = (turned(a, [m, k]), turned(b, [k, n]));
    for a in [DenseMatrix::new(a, [m, k]), DenseMatrix::new(&a_turned, [k, m]).transposed()] {
        for b in [DenseMatrix::new(b, [k, n]), DenseMatrix::new(&b_turned, [n, k]).transposed()] {
            assert_close(&multiply(a, b), &expected, k as f64)?;
        }
    }
    Ok(())
}

const GATES: [ActivationFn; 3] = [ActivationFn::Silu, ActivationFn::GeluTanh, ActivationFn::QuickGelu];

fn act(gate: ActivationFn, x: f64) -> f64 {
    let inner = match gate {
        ActivationFn::Silu => x,
        ActivationFn::GeluTanh => 2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3)),
        ActivationFn::QuickGelu => 1.702 * x,
    };
    x / (1.0 + (-inner).exp())
}

fn normed(x: &[f64], weight: &[f64], bias: &[f64], layer: bool, eps: f64) -> Vec<f64> {
    let width = weight.len();
    let mean = |row: &[f64]| row.iter().sum::<f64>() / width as f64;
    let one = |row: &[f64]| -> Vec<f64> {
        let center = if layer { mean(row) } else { 0.0 };
        let row: Vec<f64> = row.iter().map(|x| x - center).collect();
        let scale = (mean(&row.iter().map(|x| x * x).collect::<Vec<_>>()) + eps).sqrt().recip();
        row.iter().zip(weight).zip(bias).map(|((x, w), b)| x * scale * w + b).collect()
    };
    x.chunks(width).flat_map(one).collect()
}

prop_compose! {
    fn factors()(shape in [1usize..40, 1usize..60, 1usize..80])
        (a in numbers(shape[0] * shape[1]), b in numbers(shape[1] * shape[2]), shape in Just(shape))
        -> (Vec<f32>, Vec<f32>, [usize; 3]) {
        (a, b, shape)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_sums_however_the_numbers_lie((a, b, shape) in factors()) {
        assert_multiplies(&a, &b, shape)?;
    }

    #[test]
    fn gradients_of_gates_are_slopes(x in vec(-6.0f32..6.0, 1..80), seed in numbers(160)) {
        let (up, d) = (&seed[..x.len()], &seed[80..80 + x.len()]);
        for gate in GATES {
            let gated = |x: &[f64], up: &[f64]| -> Vec<f64> { x.iter().zip(up).map(|(x, up)| act(gate, *x) * up).collect() };
            let by_x = slopes(&double(&x), |x| dot(d, &gated(x, &double(up))));
            let by_up = slopes(&double(up), |up| dot(d, &gated(&double(&x), up)));
            let (mut got_x, mut got_up) = (x.clone(), up.to_vec());
            gate.gradient(&mut got_x, Some(&mut got_up), d);
            assert_close(&got_x, &by_x, 10.0)?;
            assert_close(&got_up, &by_up, 10.0)?;
            let alone = slopes(&double(&x), |x| dot(d, &gated(x, &vec![1.0; x.len()])));
            let mut got = x.clone();
            gate.gradient(&mut got, None, d);
            assert_close(&got, &alone, 10.0)?;
        }
    }

    #[test]
    fn gradients_of_norms_are_slopes(width in 2usize..70, rows in 1usize..4, seed in numbers(700)) {
        let (x, d) = (&seed[..width * rows], &seed[210..210 + width * rows]);
        let (weight, bias) = (&seed[420..420 + width], &seed[490..490 + width]);
        let eps = 0.1;
        for (layer, offset) in [(false, 1.0), (true, 0.0), (true, 1.0)] {
            let norm = match layer {
                true => Normalization::Layer { weight, offset, bias },
                false => Normalization::Rms { weight, offset },
            };
            let bias = if layer { double(bias) } else { vec![0.0; width] };
            let weight: Vec<f64> = weight.iter().map(|w| f64::from(*w) + f64::from(offset)).collect();
            let mut by_x = d.to_vec();
            let [by_weight, by_bias] = norm.gradient(x, &mut by_x, eps as f32);
            let x = double(x);
            assert_close(&by_x, &slopes(&x, |x| dot(d, &normed(x, &weight, &bias, layer, eps))), 30.0)?;
            assert_close(&by_weight, &slopes(&weight, |w| dot(d, &normed(&x, w, &bias, layer, eps))), 30.0)?;
            assert_close(&by_bias, &slopes(&bias, |b| dot(d, &normed(&x, &weight, b, layer, eps))), 30.0)?;
        }
    }

    #[test]
    fn the_objective_and_its_gradient_are_their_formulas(
        logits in vec((-20.0f32..20.0, -3.0f32..3.0), 1..2200),
        rows in 1usize..4,
        target in any::<prop::sample::Index>(),
        [l1, l2, kl] in [0.0f32..2.0, 0.0f32..2.0, 0.0f32..2.0],
        weights in proptest::option::of(vec(-2.0f32..2.0, 3)),
    ) {
        let size = logits.len();
        let (b, v): (Vec<f32>, Vec<f32>) = logits.into_iter().unzip();
        let (b, v) = (b.repeat(rows), v.repeat(rows));
        let targets: Vec<u32> = (0..rows).map(|row| ((target.index(size) + row) % size) as u32).collect();
        let scale = 0.25;
        let weights = weights.as_ref().map(|weights| &weights[..rows]);
        for base in [Some(&b[..]), None] {
            let [mut cross_entropy, mut of_l1, mut of_l2, mut of_kl] = [0.0; 4];
            let mut by_v = Vec::new();
            for (row, &target) in targets.iter().enumerate() {
                let v = double(&v[row * size..(row + 1) * size]);
                let b = base.map_or(vec![0.0; size], |base| double(&base[row * size..(row + 1) * size]));
                let log_softmax = |logits: Vec<f64>| -> Vec<f64> {
                    let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
                    logits.iter().map(|x| x - log_sum).collect()
                };
                let p = log_softmax(b.iter().zip(&v).map(|(b, v)| b + v).collect());
                let q = log_softmax(b);
                let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
                cross_entropy -= p[target as usize];
                let [l1, l2, kl] = [l1, l2, kl].map(|weight| if base.is_some() { f64::from(weight) } else { 0.0 });
                of_l1 += v.iter().map(|v| v.abs()).sum::<f64>() / size as f64;
                of_l2 += v.iter().map(|v| v * v).sum::<f64>() / size as f64;
                of_kl += divergence;
                by_v.extend((0..size).map(|j| {
                    let wanted = if j == target as usize { 1.0 } else { 0.0 };
                    let norms = (l1 * v[j].signum() + l2 * 2.0 * v[j]) / size as f64;
                    let weight = f64::from(weights.map_or(1.0, |weights| weights[row]));
                    scale * (weight * (p[j].exp() - wanted) + norms + kl * p[j].exp() * (p[j] - q[j] - divergence))
                }));
            }
            let mut got = v.clone();
            let terms = Objective::compute(base, &mut got, &targets, weights, Penalties { l1, l2, kl }, scale as f32);
            prop_assert!((terms.cross_entropy - cross_entropy).abs() < 1e-4, "{} for {cross_entropy}", terms.cross_entropy);
            if base.is_some() {
                prop_assert!((terms.l1 - of_l1).abs() < 1e-5 && (terms.l2 - of_l2).abs() < 1e-5);
                prop_assert!((terms.kl - of_kl).abs() < 1e-4, "{} for {of_kl}", terms.kl);
            } else {
                prop_assert_eq!([terms.l1, terms.l2, terms.kl], [0.0; 3]);
            }
            assert_close(&got, &by_v, 3.0)?;
        }
    }

    #[test]
    fn distillation_and_its_gradient_are_their_formulas(
        logits in vec((-20.0f32..20.0, -3.0f32..3.0, -20.0f32..20.0), 2..2200),
        k in any::<prop::sample::Index>(),
        temperature in 0.5f32..4.0,
        with_base in any::<bool>(),
    ) {
        let size = logits.len();
        let row = |of: fn(&(f32, f32, f32)) -> f32| logits.iter().map(of).collect::<Vec<f32>>().repeat(2);
        let (b, v, t) = (row(|x| x.0), row(|x| x.1), row(|x| x.2));
        let base = with_base.then_some(&b[..]);
        let log_softmax = |logits: Vec<f64>| -> Vec<f64> {
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let log_sum = largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            logits.iter().map(|x| x - log_sum).collect()
        };
        let scaled = |x: f32, y: f32| (f64::from(x) + f64::from(y)) / f64::from(temperature);
        let p = log_softmax((0..size).map(|j| scaled(base.map_or(0.0, |base| base[j]), v[j])).collect());
        let q = log_softmax((0..size).map(|j| scaled(t[j], 0.0)).collect());
        let (square, scale) = (f64::from(temperature).powi(2), 0.25);
        let factor = f64::from(temperature) * scale;
        let distillation = Distillation { size, temperature, scale: scale as f32 };
        let check = |teacher, divergence: f64, wanted: &dyn Fn(usize) -> f64| {
            let mut got = vec![1.0; 2 * size];
            let found = distillation.add_gradient(base, &v, teacher, &mut got);
            let expected = 2.0 * square * divergence;
            prop_assert!((found - expected).abs() < 1e-4 * expected.max(1.0), "{found} for {expected}");
            let by_v: Vec<f64> = (0..2 * size).map(|j| 1.0 + factor * (p[j % size].exp() - wanted(j % size))).collect();
            assert_close(&got, &by_v, 4.0)
        };
        let kl: f64 = q.iter().zip(&p).map(|(q, p)| q.exp() * (q - p)).sum();
        check(TeacherRows::Logits(&t), kl, &|j| q[j].exp())?;
        // Its top tokens, from one to all.
        let mut by_probability: Vec<u32> = (0..size as u32).collect();
        by_probability.sort_by(|a, b| q[*b as usize].total_cmp(&q[*a as usize]));
        let ids = &by_probability[..=k.index(size)];
        let others = &by_probability[ids.len()..];
        let mass = |logprobs: &[f64]| others.iter().map(|&id| logprobs[id as usize].exp()).sum::<f64>();
        let (of_p, of_q) = (mass(&p), mass(&q));
        let terms = ids.iter().map(|&id| q[id as usize].exp() * (q[id as usize] - p[id as usize]));
        let rest = if others.is_empty() { 0.0 } else { of_q * (of_q / of_p).ln() };
        let divergence = terms.sum::<f64>() + rest;
        let logprobs: Vec<f32> = ids.iter().map(|&id| q[id as usize] as f32).collect();
        let (ids_twice, logprobs) = (ids.repeat(2), logprobs.repeat(2));
        let rest = [of_q.ln() as f32; 2];
        let teacher = TeacherRows::TopTokens { ids: &ids_twice, logprobs: &logprobs, rest: &rest };
        check(teacher, divergence, &|j| {
            if ids.contains(&(j as u32)) { q[j].exp() } else { of_q * p[j].exp() / of_p }
        })?;
    }

    #[test]
    fn a_step_of_adamw_is_its_formula(x in numbers(70), g in numbers(70), m in numbers(70), v in vec(0.0f32..4.0, 70), time in 1usize..2000) {
        let adamw =
            AdamW { learning_rate: 0.01, betas: [0.9, 0.999], epsilon: 1e-3, weight_decay: 0.1, time };
        let [beta_1, beta_2] = adamw.betas.map(f64::from);
        let (mut got, mut got_m, mut got_v) = (x.clone(), m.clone(), v.clone());
        adamw.step(&mut got, &g, [&mut got_m, &mut got_v]);
        let [x, g, m, v] = [x, g, m, v].map(|numbers| double(&numbers));
        let m: Vec<f64> = m.iter().zip(&g).map(|(m, g)| beta_1 * m + (1.0 - beta_1) * g).collect();
        let v: Vec<f64> = v.iter().zip(&g).map(|(v, g)| beta_2 * v + (1.0 - beta_2) * g * g).collect();
        let moved = x.iter().zip(m.iter().zip(&v)).map(|(x, (m, v))| {
            let (m, v) = (m / (1.0 - beta_1.powi(time as i32)), v / (1.0 - beta_2.powi(time as i32)));
            (1.0 - 0.01 * 0.1) * x - 0.01 * m / (v.sqrt() + f64::from(adamw.epsilon))
        });
        assert_close(&got, &moved.collect::<Vec<_>>(), 2.0)?;
        assert_close(&got_m, &m, 2.0)?;
        assert_close(&got_v, &v, 4.0)?;
    }
}

/// More terms than are added at once, more rows than threads share, more columns than a unit has.
#[test]
fn large_products_are_sums() {
    for [m, k, n] in [[3, 1100, 300], [300, 1100, 3], [33, 513, 33], [1500, 512, 40], [40, 700, 1500]] {
        let some = |len: usize, step: usize| -> Vec<f32> {
            (0..len).map(|index| (index * step % 2003) as f32 / 1000.0 - 1.0).collect()
        };
        let (a, b) = (some(m * k, 7919), some(k * n, 104_729));
        assert_multiplies(&a, &b, [m, k, n]).expect("sums");
    }
    let nothing = DenseMatrix::new(&[], [2, 0]);
    assert_eq!(multiply(nothing, DenseMatrix::new(&[], [0, 3])), [0.0; 6]);
    assert_eq!(multiply(DenseMatrix::new(&[], [0, 3]), DenseMatrix::new(&[0.0; 6], [3, 2])), []);
}

#[test]
fn what_is_no_number_stays_visible() {
    let mut value = [0.0, f32::NAN, 1.0];
    let none = Penalties { l1: 0.0, l2: 0.0, kl: 0.0 };
    let terms = Objective::compute(Some(&[0.0; 3]), &mut value, &[0], None, none, 1.0);
    assert!(terms.cross_entropy.is_nan() && value.iter().all(|number| number.is_nan()));
    // A token that the base excludes costs nothing.
    let mut value = [0.0; 3];
    let base = [0.0, f32::NEG_INFINITY, 0.0];
    let all = Penalties { l1: 1.0, l2: 1.0, kl: 1.0 };
    let terms = Objective::compute(Some(&base), &mut value, &[0], None, all, 1.0);
    assert!((terms.cross_entropy - 2f64.ln()).abs() < 1e-6 && terms.kl.abs() < 1e-6);
    assert_eq!(value, [-0.5, 0.0, 0.5]);
}

/// Elsewhere there are none.
#[cfg(target_arch = "x86_64")]
#[test]
fn lower_levels_pass_the_same_tests() {
    precise::pass_at_lower_levels();
}
