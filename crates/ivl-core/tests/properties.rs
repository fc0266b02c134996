//! Properties of fusion, caching, batching and scoring, against a model in plain f64.

mod toy;

use ivl_core::decode::{FinishReason, GenerateConfig, SamplingConfig, Session, generate};
use ivl_core::fusion::BaseLm;
use ivl_core::score::{explain, score};
use ivl_core::tokens::{PaddedBatch, token_tensor};
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Error, FusedLm, Value, ValueStack, Vocab, VocabMap};
use proptest::prelude::*;
use toy::{Toy, cumulative_logits, host, letters, log_softmax};

fn logits(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    host(lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache"))
}

fn fused(base: &Toy, values: Vec<(&Toy, f64)>) -> FusedLm {
    let values = values.into_iter().map(|(toy, alpha)| Value::new(Box::new(toy.clone()), alpha)).collect();
    FusedLm::new(Box::new(base.clone()), values).expect("same vocabulary")
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * (1.0 + b.abs()))
}

fn sampled() -> SamplingConfig {
    SamplingConfig::default().temperature(0.9).top_k(6).top_p(0.95).repetition_penalty(1.1)
}

fn tokens_of(lm: &dyn CausalLm, prompts: &[Vec<u32>], config: &GenerateConfig) -> Vec<Vec<u32>> {
    let mut rows = vec![Vec::new(); prompts.len()];
    for step in generate(lm, prompts, config).expect("valid") {
        let step = step.expect("finite");
        rows[step.row].push(step.token);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fusion_follows_the_f64_equation(
        seeds in [0u64..1000, 1000..2000, 2000..3000],
        alphas in [-2.0f64..2.0, -2.0..2.0],
        ids in prop::collection::vec(0u32..8, 1..12),
    ) {
        let [base, first, second] = seeds.map(|seed| Toy::new(seed, letters(8, 8)));
        let got = logits(&fused(&base, vec![(&first, alphas[0]), (&second, alphas[1])]), &ids);
        let sum = |((b, f), s): ((f64, f64), f64)| (b + alphas[0] * f + alphas[1] * s) as f32;
        let flat = |toy: &Toy| toy.oracle(&ids).concat();
        let expected: Vec<f32> = flat(&base).into_iter().zip(flat(&first)).zip(flat(&second)).map(sum).collect();
        prop_assert!(close(&got, &expected), "{got:?} {expected:?}");
    }

    #[test]
    fn alpha_zero_is_the_base_to_the_last_bit(seed in 0u64..1000, ids in prop::collection::vec(0u32..8, 1..12)) {
        let (base, value) = (Toy::new(seed, letters(8, 8)), Toy::new(seed + 9, letters(8, 8)));
        let fused = fused(&base, vec![(&value, 0.0)]);
        prop_assert_eq!(logits(&fused, &ids), logits(&base, &ids));
        let bits = |lm: &dyn CausalLm| score(lm, &[&ids]).expect("valid")[0].logprobs.clone();
        prop_assert_eq!(bits(&fused), bits(&base));
    }

    #[test]
    fn fusions_nest_and_add(seed in 0u64..1000, ids in prop::collection::vec(0u32..8, 1..12)) {
        let [base, first, second] = [0, 1, 2].map(|i| Toy::new(seed + i, letters(8, 8)));
        let flat = fused(&base, vec![(&first, 0.5), (&second, 1.0)]);
        let inner = BaseLm::from(fused(&base, vec![(&first, 0.5)]));
        let nested = FusedLm::on(inner, vec![Value::new(Box::new(second), 1.0)]).expect("same vocabulary");
        prop_assert!(close(&logits(&nested, &ids), &logits(&flat, &ids)));
    }

    #[test]
    fn cumulative_logits_lead_from_the_base_to_the_whole(
        seed in 0u64..1000,
        alphas in [-2.0f64..2.0, -2.0..2.0],
        ids in prop::collection::vec(0u32..8, 2..12),
    ) {
        let [base, first, second] = [0, 1, 2].map(|i| Toy::new(seed + i, letters(8, 8)));
        let inner = BaseLm::from(fused(&base, vec![(&first, alphas[0])]));
        let lm = FusedLm::on(inner, vec![Value::new(Box::new(second.clone()), alphas[1])]).expect("same vocabulary");
        let all_logits = cumulative_logits(&lm, &ids);
        prop_assert_eq!(lm.num_values(), 2);
        prop_assert_eq!(&all_logits[0], &logits(&base, &ids));
        prop_assert_eq!(&all_logits[1], &logits(&fused(&base, vec![(&first, alphas[0])]), &ids));
        prop_assert_eq!(&all_logits[2], &logits(&lm, &ids));
        // Explanations are differences of scores: with all values, without any, without one.
        let explained = explain(&lm, &ids).expect("valid");
        let scored = |lm: &dyn CausalLm| score(lm, &[&ids]).expect("valid").remove(0).logprobs;
        let (all, none) = (scored(&lm), scored(&base));
        let others = [fused(&base, vec![(&second, alphas[1])]), fused(&base, vec![(&first, alphas[0])])].map(|lm| scored(&lm));
        prop_assert!(explained[0].is_none());
        for (at, explained) in explained.iter().enumerate().skip(1) {
            let explained = explained.as_ref().expect("predicted");
            let delta = |without: &[Option<f32>]| all[at].expect("predicted") - without[at].expect("predicted");
            prop_assert!((explained.logprob - all[at].expect("predicted")).abs() < 1e-4);
            prop_assert!((explained.change.delta - delta(&none)).abs() < 1e-4);
            for (own, without) in explained.values.iter().zip(&others) {
                prop_assert!((own.delta - delta(without)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_weight_may_change_within_a_text(
        seed in 0u64..1000,
        alpha in -2.0f64..2.0,
        ids in prop::collection::vec(0u32..8, 2..12),
    ) {
        let [base, first, second] = [0, 1, 2].map(|i| Toy::new(seed + i, letters(8, 8)));
        let with = |alpha| {
            let inner = BaseLm::from(fused(&base, vec![(&first, alpha)]));
            FusedLm::on(inner, vec![Value::new(Box::new(second.clone()), 1.0)]).expect("same vocabulary")
        };
        let (mut lm, whole) = (with(0.3), logits(&with(alpha), &ids));
        let mut cache = lm.new_cache(&[0]);
        let half = ids.len() / 2;
        lm.forward(token_tensor(&ids[..half], 1, &lm.device()), &mut cache).expect("its own cache");
        lm.set_alpha(0, alpha).expect("the inner value");
        let rest = host(lm.forward(token_tensor(&ids[half..], 1, &lm.device()), &mut cache).expect("its own cache"));
        prop_assert!(close(&rest, &whole[half * 8..]));
        prop_assert!(lm.set_alpha(2, 1.0).expect_err("two values").to_string().contains("`value` is 2"));
    }

    #[test]
    fn cached_equals_uncached_in_any_pieces(
        seed in 0u64..1000,
        ids in prop::collection::vec(0u32..8, 2..20),
        cuts in prop::collection::vec(1usize..5, 1..20),
    ) {
        let lm = fused(&Toy::new(seed, letters(8, 8)), vec![(&Toy::new(seed + 1, letters(8, 8)), 0.7)]);
        let mut cache = lm.new_cache(&[0]);
        let (mut at, mut pieces) = (0, Vec::new());
        for cut in cuts.into_iter().chain(std::iter::repeat(3)) {
            let end = (at + cut).min(ids.len());
            pieces.extend(host(lm.forward(token_tensor(&ids[at..end], 1, &lm.device()), &mut cache).expect("its own cache")));
            at = end;
            if at == ids.len() { break }
        }
        prop_assert!(close(&pieces, &logits(&lm, &ids)));
        // Forget the second half and read it again.
        let half = ids.len() / 2;
        cache.truncate(half);
        prop_assert_eq!(cache.len(), half);
        let again = host(lm.forward(token_tensor(&ids[half..], 1, &lm.device()), &mut cache).expect("its own cache"));
        prop_assert!(close(&again, &logits(&lm, &ids)[half * 8..]));
    }

    #[test]
    fn a_batch_equals_its_rows_one_by_one(
        seed in 0u64..1000,
        prompts in prop::collection::vec(prop::collection::vec(0u32..8, 1..10), 1..5),
    ) {
        let lm = fused(&Toy::new(seed, letters(8, 8)), vec![(&Toy::new(seed + 1, letters(8, 8)), 1.3)]);
        let together = score(&lm, &prompts).expect("valid");
        for (prompt, together) in prompts.iter().zip(&together) {
            let alone = &score(&lm, &[prompt]).expect("valid")[0];
            prop_assert_eq!(alone.logprobs.len(), prompt.len());
            prop_assert_eq!(together.predicted(), prompt.len() - 1);
            prop_assert!((alone.sum() - together.sum()).abs() < 1e-4);
        }
        let config = GenerateConfig::default().max_new_tokens(8).sampling(sampled()).seed(11).end_tokens(vec![3]);
        let batched = tokens_of(&lm, &prompts, &config);
        for (row, prompt) in prompts.iter().enumerate() {
            let config = config.clone().seed(11 + row as u64);
            prop_assert_eq!(&tokens_of(&lm, std::slice::from_ref(prompt), &config)[0], &batched[row]);
        }
    }

    #[test]
    fn a_session_writes_what_a_generation_writes_and_reads_nothing_twice(
        seed in 0u64..1000,
        first in prop::collection::vec(0u32..8, 1..10),
        more in prop::collection::vec(0u32..8, 1..10),
        undone in 0usize..12,
    ) {
        let lm = fused(&Toy::new(seed, letters(8, 8)), vec![(&Toy::new(seed + 1, letters(8, 8)), 1.3)]);
        let config = GenerateConfig::default().max_new_tokens(6).sampling(sampled()).seed(5);
        let mut session = Session::new(&lm);
        let mut text = first;
        for turn in 0..3 {
            let writing = session.generate(&lm, &text, &config).expect("fits");
            let reused = writing.reused();
            let answer: Vec<u32> = writing.map(|step| step.expect("finite").token).collect();
            prop_assert_eq!(&answer, &tokens_of(&lm, &[text.clone()], &config)[0]);
            // All but the last token was read, and the next turn begins after it.
            prop_assert_eq!(session.read(), [&text[..], &answer[..answer.len() - 1]].concat());
            if turn == 1 {
                prop_assert_eq!(reused, text.len() - more.len() - 1);
            }
            text.extend(&answer);
            if turn == 1 {
                text.truncate((text.len() - undone.min(text.len())).max(1));
            }
            text.extend(&more);
        }
    }

    #[test]
    fn scores_match_the_f64_oracle(seed in 0u64..1000, ids in prop::collection::vec(0u32..8, 2..30)) {
        let toy = Toy::new(seed, letters(8, 8));
        let got = &score(&toy, &[&ids]).expect("valid")[0];
        let oracle = toy.oracle(&ids);
        prop_assert_eq!(got.logprobs[0], None);
        for i in 1..ids.len() {
            let expected = log_softmax(&oracle[i - 1])[ids[i] as usize];
            let got = f64::from(got.logprobs[i].expect("predicted"));
            prop_assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()));
        }
    }
}

#[test]
fn padded_vocabularies_meet_on_the_ids_that_both_know() {
    let base = Toy::new(1, letters(6, 10));
    let value = Toy::new(2, letters(6, 7));
    let fused = fused(&base, vec![(&value, 1.0)]);
    let ids = [0, 5, 2];
    let (got, base_logits, value_logits) = (logits(&fused, &ids), logits(&base, &ids), logits(&value, &ids));
    for position in 0..3 {
        for id in 0..10 {
            let value = if id < 6 { value_logits[position * 7 + id] } else { 0.0 };
            let expected = base_logits[position * 10 + id] + value;
            assert!((got[position * 10 + id] - expected).abs() < 1e-6, "position {position}, id {id}");
        }
    }
    // The larger value is cut down in the same way.
    let fused = self::fused(&value, vec![(&base, 1.0)]);
    let got = logits(&fused, &ids);
    assert!((got[6] - value_logits[6]).abs() < 1e-6, "the padding id gets no value");
    assert!((got[5] - value_logits[5] - base_logits[5]).abs() < 1e-5);
    let config = GenerateConfig::default().max_new_tokens(40).sampling(sampled());
    assert!(tokens_of(&fused, &[vec![0]], &config)[0].iter().all(|&id| id < 6), "padding is never sampled");
}

#[test]
fn tokens_that_only_the_base_knows_are_read_and_get_no_value() {
    let base = Toy::new(1, letters(9, 9));
    let value = Toy::new(2, letters(6, 6));
    let fused = fused(&base, vec![(&value, 1.0)]);
    let ids = [0, 8, 2];
    let (got, base_logits) = (logits(&fused, &ids), logits(&base, &ids));
    assert_eq!(got[9 + 8], base_logits[9 + 8]);
    assert_ne!(got[9 + 5], base_logits[9 + 5]);
}

#[test]
fn other_tokens_at_the_same_ids_are_refused() {
    let base = letters(8, 8);
    let mut tokens: Vec<_> = base.iter().map(Option::<&Token>::cloned).collect();
    tokens.swap(3, 5);
    let other = Toy::new(2, Vocab::new(tokens));
    let error =
        FusedLm::new(Box::new(Toy::new(1, base.clone())), vec![Value::new(Box::new(other.clone()), 1.0)]);
    let error = error.err().expect("refused");
    assert!(matches!(error, Error::VocabMismatch { count: 2, compared: 8, id: 3, .. }), "{error}");
    assert!(error.to_string().contains("first id 3: base has \"d\", value has \"f\""), "{error}");

    // With the map that undoes the swap it is accepted, and logits and tokens are both translated.
    let map = (0..8)
        .map(|id| {
            Some(match id {
                3 => 5,
                5 => 3,
                id => id,
            })
        })
        .collect();
    let map = VocabMap::new(map, &base, other.vocab()).expect("valid");
    let value = Value::new(Box::new(other.clone()), 1.0).with_map(map.clone());
    let fused = FusedLm::new(Box::new(Toy::new(1, base.clone())), vec![value]).expect("mapped");
    let got = logits(&fused, &[0, 3, 1]);
    let (base_logits, value_logits) = (logits(&Toy::new(1, base), &[0, 3, 1]), logits(&other, &[0, 5, 1]));
    for position in 0..3 {
        let expected = base_logits[position * 8 + 3] + value_logits[position * 8 + 5];
        assert!((got[position * 8 + 3] - expected).abs() < 1e-5);
    }
    // And only between the vocabularies that it was made for.
    let value = Value::new(Box::new(Toy::new(3, letters(8, 8))), 1.0).with_map(map);
    assert!(matches!(FusedLm::new(Box::new(other), vec![value]), Err(Error::ForeignMap { .. })));
}

#[test]
fn renamed_control_tokens_get_no_value_but_do_not_refuse_it() {
    let with = |name: &str| {
        let mut tokens: Vec<_> = letters(4, 4).iter().map(Option::<&Token>::cloned).collect();
        tokens.push(Some(Token::control(name)));
        Vocab::new(tokens)
    };
    let map = VocabMap::same_ids(&with("<|reserved_4|>"), &with("<|eom_id|>")).expect("compatible");
    assert_eq!(map.without_value(), [4]);
}

#[test]
fn generation_ends_at_end_tokens_stop_strings_limits_and_the_context() {
    let lm = Toy::new(5, letters(8, 8));
    let greedy = tokens_of(&lm, &[vec![0, 1]], &GenerateConfig::default().max_new_tokens(100));
    assert_eq!(greedy[0].len(), 62, "the context holds 64");
    let text = |id: u32| char::from(b'a' + id as u8).to_string();

    let config = GenerateConfig::default().max_new_tokens(100).end_tokens(vec![greedy[0][0]]);
    let steps: Vec<_> = generate(&lm, &[[0, 1]], &config).expect("valid").map(Result::unwrap).collect();
    assert_eq!((steps.len(), steps[0].text.as_str()), (1, ""));
    assert_eq!(steps[0].finish, Some(FinishReason::Stop));

    let stop: String = greedy[0][2..4].iter().map(|&id| text(id)).collect();
    let whole: String = greedy[0].iter().map(|&id| text(id)).collect();
    let config = GenerateConfig::default().max_new_tokens(100).stop_strings(vec![stop.clone()]);
    let steps: Vec<_> = generate(&lm, &[[0, 1]], &config).expect("valid").map(Result::unwrap).collect();
    let got: String = steps.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(got, whole[..whole.find(&stop).expect("it occurs")]);
    assert_eq!(steps.last().and_then(|s| s.finish), Some(FinishReason::Stop));

    let config = GenerateConfig::default().max_new_tokens(3);
    let steps: Vec<_> = generate(&lm, &[[0, 1]], &config).expect("valid").map(Result::unwrap).collect();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[2].finish, Some(FinishReason::Length));
}

#[test]
fn impossible_prompts_are_refused() {
    let lm = Toy::new(5, letters(8, 8));
    let config = GenerateConfig::default();
    let refused = |prompt: Vec<u32>| generate(&lm, &[prompt], &config).err().expect("refused");
    assert!(matches!(refused(vec![]), Error::EmptyPrompt));
    assert!(matches!(refused(vec![0; 64]), Error::PromptTooLong { got: 64, limit: 64, .. }));
    assert!(matches!(refused(vec![0, 8]), Error::TokenOutOfRange { id: 8, position: 1, size: 8 }));
    assert!(matches!(score(&lm, &[vec![0; 65]]), Err(Error::TextTooLong { got: 65, limit: 64, .. })));
    assert!(PaddedBatch::new(&[vec![0], vec![]], lm.vocab()).is_err());
}
