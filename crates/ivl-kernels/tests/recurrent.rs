//! Kernels of recurrent layers against the same sums in plain double precision, and in pieces.

mod precise;

use ivl_kernels::{CausalConvolution, DeltaInputs, GatedDeltaRule};
use precise::{close, numbers};
use proptest::prelude::*;

/// Rows of positions that are padding, then texts: the second begins after some positions of the first.
fn ages(batch: usize, seq: usize, padding: usize, second: usize) -> Vec<Option<usize>> {
    let row = |row: usize| {
        let start = if row == 0 { padding.min(seq) } else { 0 };
        (0..seq).map(move |position| {
            let age = position.checked_sub(start)?;
            Some(if age >= second { age - second } else { age })
        })
    };
    (0..batch).flat_map(row).collect()
}

/// Some positions of every row.
fn part<T: Copy>(all: &[T], batch: usize, seq: usize, positions: std::ops::Range<usize>) -> Vec<T> {
    let width = all.len() / (batch * seq);
    all.chunks(seq * width)
        .flat_map(|row| &row[positions.start * width..positions.end * width])
        .copied()
        .collect()
}

/// One position after the other, in f64.
fn delta_oracle(
    rule: &GatedDeltaRule,
    [mixed, decay, strength]: [&[f32]; 3],
    ages: &[Option<usize>],
    batch: usize,
) -> Vec<f64> {
    let GatedDeltaRule { key_heads, value_heads, key_dim, value_dim } = *rule;
    let (seq, channels) = (ages.len() / batch, mixed.len() / ages.len());
    let mut output = vec![0.0; ages.len() * value_heads * value_dim];
    for (row, head) in (0..batch).flat_map(|row| (0..value_heads).map(move |head| (row, head))) {
        let mut state = vec![vec![0.0; value_dim]; key_dim];
        for place in row * seq..(row + 1) * seq {
            let Some(age) = ages[place] else { continue };
            if age == 0 {
                state = vec![vec![0.0; value_dim]; key_dim];
            }
            let at = |from: usize, width: usize| -> Vec<f64> {
                mixed[place * channels + from..][..width].iter().map(|&x| f64::from(x)).collect()
            };
            let unit = |x: Vec<f64>| -> Vec<f64> {
                let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
                x.into_iter().map(|x| x / length).collect()
            };
            let shared = head / (value_heads / key_heads);
            let query = unit(at(shared * key_dim, key_dim));
            let key = unit(at((key_heads + shared) * key_dim, key_dim));
            let value = at(2 * key_heads * key_dim + head * value_dim, value_dim);
            let own = place * value_heads + head;
            for column in 0..value_dim {
                let recalled: f64 = (0..key_dim)
                    .map(|row| {
                        state[row][column] *= f64::from(decay[own]);
                        key[row] * state[row][column]
                    })
                    .sum();
                let delta = f64::from(strength[own]) * (value[column] - recalled);
                let read: f64 = (0..key_dim)
                    .map(|row| {
                        state[row][column] += key[row] * delta;
                        query[row] * state[row][column]
                    })
                    .sum();
                output[own * value_dim + column] = read / (key_dim as f64).sqrt();
            }
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_delta_rule_is_what_its_formula_says(
        (key_heads, groups, key_dim, value_dim) in (1usize..3, 1usize..3, 1usize..40, 1usize..70),
        (batch, seq, padding, second, cut) in (1usize..3, 1usize..24, 0usize..5, 1usize..30, 0usize..24),
        seeds in numbers(24 * 3 * 200),
    ) {
        let value_heads = key_heads * groups;
        let rule = GatedDeltaRule { key_heads, value_heads, key_dim, value_dim };
        let channels = 2 * key_heads * key_dim + value_heads * value_dim;
        let mixed: Vec<f32> = seeds.iter().cycle().take(batch * seq * channels).copied().collect();
        let share = |x: &f32| 1.0 / (1.0 + (-x).exp());
        let decay: Vec<f32> = seeds.iter().rev().take(batch * seq * value_heads).map(share).collect();
        let strength: Vec<f32> = seeds.iter().skip(7).take(batch * seq * value_heads).map(share).collect();
        let ages = ages(batch, seq, padding, second);
        let empty = || vec![0.0; batch * value_heads * key_dim * value_dim];
        let mut state = empty();
        let inputs = DeltaInputs { mixed: &mixed, decay: &decay, strength: &strength, ages: &ages };
        let whole = rule.run(inputs, batch, &mut state);
        let expected = delta_oracle(&rule, [&mixed, &decay, &strength], &ages, batch);
        close(&whole, &expected, expected.iter().fold(1.0, |a, b| b.abs().max(a)), 2e-5)?;
        // In pieces, to the bit.
        let (cut, mut again) = (cut.min(seq - 1), empty());
        let pieces = [0..cut, cut..seq].map(|positions| {
            let of = |all: &[f32]| part(all, batch, seq, positions.clone());
            let (mixed, decay, strength) = (of(&mixed), of(&decay), of(&strength));
            let ages = part(&ages, batch, seq, positions.clone());
            let inputs = DeltaInputs { mixed: &mixed, decay: &decay, strength: &strength, ages: &ages };
            if positions.is_empty() { Vec::new() } else { rule.run(inputs, batch, &mut again) }
        });
        if cut > 0 {
            prop_assert_eq!(&pieces[0], &part(&whole, batch, seq, 0..cut));
        }
        prop_assert_eq!(&pieces[1], &part(&whole, batch, seq, cut..seq));
        prop_assert_eq!(again, state);
    }

    #[test]
    fn convolutions_are_what_their_formula_says(
        (kernel, channels, biased) in (2usize..6, 1usize..50, any::<bool>()),
        (batch, seq, padding, second, cut) in (1usize..3, 1usize..24, 0usize..5, 1usize..30, 0usize..24),
        seeds in numbers(24 * 3 * 60),
    ) {
        let x: Vec<f32> = seeds.iter().cycle().take(batch * seq * channels).copied().collect();
        let weight: Vec<f32> = seeds.iter().rev().take(kernel * channels).copied().collect();
        let bias: Vec<f32> = seeds.iter().skip(3).take(if biased { channels } else { 0 }).copied().collect();
        let convolution = CausalConvolution { weight: &weight, bias: &bias, channels };
        let ages = ages(batch, seq, padding, second);
        let empty = || vec![0.0; batch * (kernel - 1) * channels];
        let mut tail = empty();
        let whole = convolution.apply(&x, &mut tail, &ages, batch);
        let number = |place: usize, channel: usize| -> f64 {
            let own = bias.get(channel).map_or(0.0, |&bias| f64::from(bias));
            let Some(age) = ages[place] else { return own };
            let reached = (0..kernel.min(age + 1)).map(|distance| {
                let weight = weight[(kernel - 1 - distance) * channels + channel];
                f64::from(weight) * f64::from(x[(place - distance) * channels + channel])
            });
            own + reached.sum::<f64>()
        };
        let expected: Vec<f64> =
            (0..ages.len()).flat_map(|place| (0..channels).map(move |channel| (place, channel)))
            .map(|(place, channel)| number(place, channel)).collect();
        close(&whole, &expected, 20.0, 2e-6)?;
        let (cut, mut again) = (cut.min(seq - 1), empty());
        let pieces = [0..cut, cut..seq].map(|positions| {
            let (x, ages) = (part(&x, batch, seq, positions.clone()), part(&ages, batch, seq, positions.clone()));
            if positions.is_empty() { Vec::new() } else { convolution.apply(&x, &mut again, &ages, batch) }
        });
        if cut > 0 {
            prop_assert_eq!(&pieces[0], &part(&whole, batch, seq, 0..cut));
        }
        prop_assert_eq!(&pieces[1], &part(&whole, batch, seq, cut..seq));
        prop_assert_eq!(again, tail);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn lower_levels_of_instructions_pass_too() {
    precise::pass_at_lower_levels();
}
