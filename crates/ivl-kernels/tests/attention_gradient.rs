//! The derivatives of attention against differences of attention in double precision, at every level of instructions.

mod precise;

use std::ops::Range;

use ivl_kernels::GroupedQueryAttention;
use precise::{close, numbers};
use proptest::prelude::*;

/// Query heads for each key head, key heads, width; rows, new positions, known positions, free positions.
type Sizes = ([usize; 3], [usize; 4]);

fn sizes() -> impl Strategy<Value = Sizes> {
    let heads = (1usize..5, 1usize..3, 1usize..80).prop_map(|(groups, kv, dim)| [groups, kv, dim]);
    let texts = (1usize..4, 1usize..40, 0usize..30, 0usize..3);
    (heads, texts.prop_map(|(batch, seq, known, free)| [batch, seq, known, free]))
}

/// What a pass reads, and in which direction everything is moved.
#[derive(Debug, Clone)]
struct Pass {
    sizes: Sizes,
    /// Queries, keys, values.
    inputs: [Vec<f32>; 3],
    directions: [Vec<f32>; 3],
    slopes: Vec<f32>,
    seen: Vec<Range<usize>>,
}

prop_compose! {
    fn passes()(sizes in sizes())
        (queries in numbers(3 * sizes.1[0] * sizes.1[1] * sizes.0.iter().product::<usize>()),
         others in numbers(4 * sizes.1[0] * sizes.0[1] * sizes.1[1..].iter().sum::<usize>() * sizes.0[2]),
         // Where a text begins; a query may also see nothing, as padding does.
         starts in proptest::collection::vec(0..sizes.1[1] + sizes.1[2] + 1, sizes.1[0] * sizes.1[1]),
         by_row in any::<bool>(), sizes in Just(sizes)) -> Pass {
        let (_, [_, seq, known, _]) = sizes;
        let part = |of: &[f32], count: usize, index: usize| of[of.len() / count * index..of.len() / count * (index + 1)].to_vec();
        let query = |index| part(&queries, 3, index);
        let other = |index| part(&others, 4, index);
        let seen = (0..starts.len()).map(|at| {
            let end = known + at % seq + 1;
            starts[if by_row { at / seq * seq } else { at }].min(end)..end
        });
        Pass {
            sizes,
            inputs: [query(0), other(0), other(1)],
            directions: [query(1), other(2), other(3)],
            slopes: query(2),
            seen: seen.collect(),
        }
    }
}

/// The sum of all outputs, multiplied with their slopes.
fn weighted_sum(pass: &Pass, [query, keys, values]: &[Vec<f64>; 3], scale: f64, cap: Option<f64>) -> f64 {
    let ([groups, kv_heads, dim], [_, seq, known, free]) = pass.sizes;
    let (heads, capacity) = (groups * kv_heads, known + seq + free);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut sum = 0.0;
    for (index, query) in query.chunks(dim).enumerate() {
        let (position, head) = (index / heads, index % heads / groups);
        let of = |all: &[f64], key: usize| {
            let at = ((position / seq * kv_heads + head) * capacity + key) * dim;
            all[at..at + dim].to_vec()
        };
        let score = |key: usize| {
            let score = scale * dot(query, &of(keys, key));
            cap.map_or(score, |cap| cap * (score / cap).tanh())
        };
        let weights: Vec<f64> = pass.seen[position].clone().map(|key| score(key).exp()).collect();
        let total: f64 = weights.iter().sum();
        let slopes: Vec<f64> = pass.slopes[index * dim..][..dim].iter().copied().map(f64::from).collect();
        for (key, weight) in pass.seen[position].clone().zip(weights) {
            sum += weight / total * dot(&slopes, &of(values, key));
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gradients_of_attention_are_slopes(pass in passes(), capped in any::<bool>()) {
        let ([groups, kv_heads, dim], [batch, ..]) = pass.sizes;
        let (heads, scale, cap) = (groups * kv_heads, 0.3, capped.then_some(2.0));
        let attention = GroupedQueryAttention { heads, kv_heads, dim, scale, softcap: cap, sinks: None };
        let [query, keys, values] = &pass.inputs;
        let gradients = attention.gradient(query, [keys, values], &pass.slopes, batch, &pass.seen);
        for (which, gradient) in gradients.iter().enumerate() {
            prop_assert_eq!(gradient.len(), pass.inputs[which].len());
            let moved = |by: f64| {
                let mut inputs = pass.inputs.clone().map(|x| x.into_iter().map(f64::from).collect::<Vec<_>>());
                let steps = inputs[which].iter_mut().zip(&pass.directions[which]);
                steps.for_each(|(x, direction)| *x += by * f64::from(*direction));
                weighted_sum(&pass, &inputs, f64::from(scale), cap.map(f64::from))
            };
            let step = 1e-4;
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let products = gradient.iter().zip(&pass.directions[which]).map(|(a, b)| f64::from(*a) * f64::from(*b));
            let size: f64 = products.clone().map(f64::abs).sum();
            close(&[products.sum::<f64>() as f32], &[expected], size.max(1e-2), 4e-6)?;
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn lower_levels_pass_the_same_tests() {
    precise::pass_at_lower_levels();
}
