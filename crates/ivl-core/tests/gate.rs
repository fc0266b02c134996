//! Gated values against a model in plain f64: where the gate opens the logits are the fused ones, elsewhere the base's,
//! and nothing depends on how the text came.

mod toy;

use ivl_core::decode::{GenerateConfig, generate};
use ivl_core::fusion::{Gate, GateCounts, GatedLm};
use ivl_core::score::{Uncertainty, score};
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm, FusedLm, Value, ValueStack};
use proptest::prelude::*;
use toy::{Toy, cumulative_logits, host, letters, log_softmax};

const ALPHA: f64 = 0.8;

fn toys(seed: u64) -> [Toy; 2] {
    [seed, seed + 1].map(|seed| Toy::new(seed, letters(8, 8)))
}

fn fused(seed: u64) -> FusedLm {
    let [base, value] = toys(seed);
    FusedLm::new(Box::new(base), vec![Value::new(Box::new(value), ALPHA)]).expect("same vocabulary")
}

fn gated(seed: u64, gate: &str) -> GatedLm {
    GatedLm::new(fused(seed), gate.parse().expect("a gate"))
}

/// Whether the gate opens after every token of a text, and the logits there.
fn oracle(seed: u64, gate: Gate, ids: &[u32]) -> Vec<(bool, Vec<f64>)> {
    let [base, value] = toys(seed).map(|toy| toy.oracle(ids));
    let at = |(position, (base, value)): (usize, (Vec<f64>, Vec<f64>))| {
        let log_p = log_softmax(&base);
        let mut p: Vec<f64> = log_p.iter().map(|log_p| log_p.exp()).collect();
        let entropy: f64 = p.iter().zip(&log_p).map(|(p, log_p)| -p * log_p).sum();
        p.sort_by(f64::total_cmp);
        let opens = match gate {
            Gate::Entropy { above } => entropy > above,
            Gate::Margin { below } => p[7] - p[6] < below,
            Gate::Every { tokens } => position % tokens == 0,
            Gate::First { tokens } => position < tokens,
        };
        let logit = |(base, value): (&f64, &f64)| base + if opens { ALPHA * value } else { 0.0 };
        (opens, base.iter().zip(&value).map(logit).collect())
    };
    base.into_iter().zip(value).enumerate().map(at).collect()
}

fn close(got: &[f32], expected: &[f64]) -> bool {
    got.len() == expected.len()
        && got.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() <= 1e-4 * (1.0 + b.abs()))
}

fn read(lm: &dyn CausalLm, ids: &[u32], cache: &mut Cache) -> Vec<f32> {
    host(lm.forward(token_tensor(ids, 1, &lm.device()), cache).expect("its own cache"))
}

fn gates() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "entropy>0.7",
        "entropy>1.5",
        "margin<0.3",
        "margin<0.05",
        "every=3",
        "first=4",
    ])
}

fn texts() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..8, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn logits_are_those_of_the_definition_in_any_pieces(
        seed in 0u64..1000,
        gate in gates(),
        ids in texts(),
        pieces in prop::collection::vec(1usize..5, 1..6),
    ) {
        let lm = gated(seed, gate);
        let expected = oracle(seed, gate.parse().expect("a gate"), &ids);
        let mut cache = lm.new_cache(&[0]);
        let (mut at, mut back, mut pieces) = (0, 2, pieces.iter().cycle());
        while at < ids.len() {
            let end = (at + pieces.next().expect("endless")).min(ids.len());
            let whole: Vec<f64> = expected[at..end].iter().flat_map(|(_, logits)| logits.clone()).collect();
            let mut copy = cache.clone();
            prop_assert!(close(&read(&lm, &ids[at..end], &mut cache), &whole));
            let tokens = token_tensor(&ids[at..end], 1, &lm.device());
            prop_assert!(close(&host(lm.next_logits(tokens, &mut copy).expect("its own cache")), &expected[end - 1].1));
            prop_assert_eq!((copy.len(), cache.len()), (end, end));
            // Forget some of it, also of what the value has not read, and read it again.
            at = if back > 0 { end.saturating_sub(2) } else { end };
            back -= i32::from(back > 0);
            cache.truncate(at);
        }
    }

    #[test]
    fn always_is_the_fused_model_and_never_the_base(seed in 0u64..1000, ids in texts()) {
        let [base, _] = toys(seed);
        let once = |lm: &dyn CausalLm| read(lm, &ids, &mut lm.new_cache(&[0]));
        for always in ["entropy>-1", "margin<2", "every=1", "first=99"] {
            let (got, whole) = (once(&gated(seed, always)), once(&fused(seed)));
            prop_assert!(got.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6 * (1.0 + b.abs())));
        }
        for never in ["entropy>9", "margin<0", "first=0"] {
            let lm = gated(seed, never);
            prop_assert_eq!(once(&lm), once(&base));
            let counts = lm.log().counts();
            prop_assert_eq!((counts.consulted, counts.value_passes), (0, 0));
        }
    }

    #[test]
    fn cumulative_logits_end_with_the_gated_ones(seed in 0u64..1000, gate in gates(), ids in texts()) {
        let [base, _] = toys(seed);
        let lm = gated(seed, gate);
        let all = cumulative_logits(&lm, &ids);
        prop_assert_eq!(all.len(), lm.num_values() + 1);
        prop_assert_eq!(&all[0], &read(&base, &ids, &mut base.new_cache(&[0])));
        prop_assert_eq!(&all[1], &read(&lm, &ids, &mut lm.new_cache(&[0])));
    }

    #[test]
    fn rows_have_gates_of_their_own(seed in 0u64..1000, gate in gates(), texts in prop::collection::vec(texts(), 1..4)) {
        let lm = gated(seed, gate);
        let together = score(&lm, &texts).expect("fits");
        let (mut positions, mut consulted) = (0, 0);
        for (ids, together) in texts.iter().zip(&together) {
            let alone = oracle(seed, gate.parse().expect("a gate"), ids);
            for at in 1..ids.len() {
                let expected = log_softmax(&alone[at - 1].1)[ids[at] as usize];
                let got = f64::from(together.logprobs[at].expect("predicted"));
                prop_assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{got} {expected}");
            }
            positions += ids.len() - 1;
            consulted += alone[..ids.len() - 1].iter().filter(|(opens, _)| *opens).count();
        }
        // Logits were asked for where something follows, padding aside.
        let counts = lm.log().counts();
        prop_assert_eq!((counts.positions, counts.consulted), (positions, consulted));
    }

    #[test]
    fn answers_are_chosen_by_the_definition(
        seed in 0u64..1000,
        gate in gates(),
        prompts in prop::collection::vec(prop::collection::vec(0u32..8, 1..6), 1..4),
    ) {
        let lm = gated(seed, gate);
        let config = GenerateConfig::default().max_new_tokens(9).end_tokens(vec![3]);
        let mut answers = vec![Vec::new(); prompts.len()];
        for step in generate(&lm, &prompts, &config).expect("valid") {
            let step = step.expect("finite");
            answers[step.row].push(step.token);
        }
        let gate: Gate = gate.parse().expect("a gate");
        for (prompt, answer) in prompts.iter().zip(&answers) {
            let mut ids = prompt.clone();
            for (written, &token) in answer.iter().enumerate() {
                let [base, value] = toys(seed).map(|toy| toy.oracle(&ids).pop().expect("a token"));
                let logits: Vec<f32> = base.iter().map(|&logit| logit as f32).collect();
                // A schedule counts from the first token of the answer.
                let opens = gate.opens(&logits, written);
                let weight = if opens { ALPHA } else { 0.0 };
                let chosen = base.iter().zip(&value).map(|(b, v)| b + weight * v).enumerate();
                let (best, _) = chosen.fold((0, f64::NEG_INFINITY), |best, (id, logit)| if logit > best.1 { (id, logit) } else { best });
                prop_assert_eq!(best as u32, token);
                ids.push(token);
            }
        }
    }
}

#[test]
fn a_value_that_lags_catches_up_in_one_pass_and_reads_nothing_twice() {
    let lm = gated(1, "every=4");
    let config = GenerateConfig::default().max_new_tokens(13);
    assert_eq!(generate(&lm, &[[0, 1, 2]], &config).expect("valid").count(), 13);
    let expected = GateCounts { positions: 13, consulted: 4, base_passes: 13, value_passes: 4 };
    assert_eq!(lm.log().counts(), expected);
    let mut cache = lm.new_cache(&[0]);
    read(&lm, &[0, 1, 2, 3, 4, 5, 6, 7], &mut cache);
    let Cache::Gated(cache) = &cache else { panic!("a gated model has a gated cache") };
    assert_eq!((cache.len(), cache.value_len()), (8, 5), "after the last token consulted, nothing was read");
}

#[test]
fn what_the_oracle_measures_is_what_gates_measure() {
    let logits = toys(5)[0].oracle(&[0, 1])[1].clone();
    let log_p = log_softmax(&logits);
    let entropy: f64 = log_p.iter().map(|log_p| -log_p.exp() * log_p).sum();
    let measured = Uncertainty::of(&logits.iter().map(|&logit| logit as f32).collect::<Vec<_>>());
    assert!((measured.entropy - entropy).abs() < 1e-5);
}
