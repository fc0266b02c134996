//! A base and a value that cut texts differently: what the value reads, what is added, and that nothing depends on how
//! the text came.

mod greedy;
mod toy;

use greedy::{Greedy, vocab};
use ivl_core::causal_lm::Positions;
use ivl_core::cross_tokenizer::{RetokenizedValue, Retokenizer};
use ivl_core::decode::{GenerateConfig, SamplingConfig, generate};
use ivl_core::fusion::{Gate, GatedLm};
use ivl_core::score::score;
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, ValueStack, Vocab, VocabMap};
use proptest::prelude::*;
use toy::{Toy, cumulative_logits, host, log_softmax};

/// Tokens that end inside characters, inside the other's tokens, and both.
fn base_vocab() -> Vocab {
    let snowman = "☃".as_bytes();
    vocab(&[
        &b"a"[..],
        b"b",
        b" ",
        b"ab",
        b" a",
        b"ba ",
        &snowman[..1],
        &snowman[1..2],
        &snowman[2..],
        "é".as_bytes(),
        &[0xc3],
    ])
}

fn value_vocab() -> Vocab {
    let snowman = "☃".as_bytes();
    vocab(&[
        &b"a"[..],
        b"b",
        b" ",
        b"aba",
        b" b",
        b"bb",
        &snowman[..2],
        &snowman[2..],
        "é".as_bytes(),
        "☃".as_bytes(),
        &[0xa9],
    ])
}

/// Same bytes, else nothing; control tokens by their places.
fn exact_map(base: &Vocab, value: &Vocab) -> VocabMap {
    let same = |id: u32| (0..value.size() as u32).find(|&other| value.token(other) == base.token(id));
    VocabMap::new((0..base.size() as u32).map(same).collect(), base, value).expect("a map")
}

fn cross(alpha: f64) -> (Toy, Toy, FusedLm) {
    let (base, value) = (Toy::new(3, base_vocab()), Toy::new(8, value_vocab()));
    let map = exact_map(base.vocab(), value.vocab());
    let tokenizer = Greedy::new(value.vocab());
    let lm = fused(&base, value.clone(), alpha, map, tokenizer);
    (base, value, lm.expect("fits"))
}

/// A base with a value that reads the text in tokens of its own.
fn fused(
    base: &Toy,
    value: Toy,
    alpha: f64,
    map: VocabMap,
    tokenizer: impl Retokenizer + 'static,
) -> Result<FusedLm, Error> {
    let value = RetokenizedValue::new(base.vocab(), Box::new(value), map, Box::new(tokenizer))?;
    FusedLm::new(Box::new(base.clone()), vec![Value::partial(Box::new(value), alpha)])
}

fn held(cache: &Cache, row: usize) -> Vec<u32> {
    let Cache::Fused(parts) = cache else { panic!("fused") };
    let Cache::Text(text) = &parts[1] else { panic!("text") };
    text.held(row).to_vec()
}

/// The text of base ids: complete characters, and the bytes that wait.
fn text(vocab: &Vocab, ids: &[u32]) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| vocab.text_bytes(id).to_vec()).collect();
    let mut end = bytes.len();
    while let Err(error) = std::str::from_utf8(&bytes[..end]) {
        assert!(error.error_len().is_none(), "only ends are incomplete here");
        end = error.valid_up_to();
    }
    (String::from_utf8(bytes[..end].to_vec()).expect("valid"), bytes[end..].to_vec())
}

/// Fused logits after base ids in plain f64, from the definition.
fn oracle(base: &Toy, value: &Toy, alpha: f64, ids: &[u32]) -> Vec<f64> {
    let b = base.oracle(ids).pop().expect("a position");
    let (text, pending) = text(base.vocab(), ids);
    let read = Greedy::new(value.vocab()).ids(&text);
    let v = value.oracle(&read).pop().expect("a position");
    let value_of = |id: usize| -> Option<f64> {
        let token = base.vocab().token(id as u32)?;
        let found = if pending.is_empty() {
            value.vocab().iter().position(|other| other == Some(token))
        } else {
            let bytes = base.vocab().text_bytes(id as u32);
            let continues = bytes.first().is_some_and(|byte| (0x80..0xc0).contains(byte));
            let whole = [&pending, bytes].concat();
            (0..value.vocab().size()).find(|&id| continues && value.vocab().text_bytes(id as u32) == whole)
        };
        found.map(|found| alpha * v[found])
    };
    let values: Vec<Option<f64>> = (0..b.len()).map(value_of).collect();
    let sum = |with: bool| -> f64 {
        let known = b.iter().zip(&values).filter(|(_, v)| v.is_some());
        known.map(|(b, v)| (b + if with { v.unwrap_or(0.0) } else { 0.0 }).exp()).sum()
    };
    let neutral = (sum(true) / sum(false)).ln();
    let neutral = if neutral.is_finite() { neutral } else { 0.0 };
    b.iter().zip(&values).map(|(b, v)| b + v.unwrap_or(neutral)).collect()
}

fn close(got: &[f32], expected: &[f64]) -> bool {
    got.len() == expected.len()
        && got.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 2e-4 * (1.0 + b.abs()))
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", " ", "é", "☃", "ab", "ba "]), 1..14)
        .prop_map(|parts| parts.concat())
}

/// Base ids of a text, cut at random rather than by a rule.
fn cut(text: &str, choices: &[usize]) -> Vec<u32> {
    let (vocab, mut rest, mut ids) = (base_vocab(), text.as_bytes(), vec![0]);
    let mut choices = choices.iter().cycle();
    while !rest.is_empty() {
        let fits: Vec<u32> =
            (2..vocab.size() as u32).filter(|&id| rest.starts_with(vocab.text_bytes(id))).collect();
        // The rest of a two-byte letter is no token of the base: take the letter whole.
        let fits: Vec<u32> = fits.into_iter().filter(|&id| vocab.text_bytes(id) != [0xc3]).collect();
        let id = fits[choices.next().expect("endless") % fits.len()];
        rest = &rest[vocab.text_bytes(id).len()..];
        ids.push(id);
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_value_reads_its_own_tokenisation_of_the_text_at_every_step(
        text_ in texts(),
        choices in prop::collection::vec(0usize..7, 1..9),
        pieces in prop::collection::vec(1usize..4, 1..9),
        back in prop::collection::vec(0usize..4, 1..9),
    ) {
        let (base, value, lm) = cross(0.7);
        let ids = cut(&text_, &choices);
        let tokenizer = Greedy::new(value.vocab());
        let mut cache = lm.new_cache(&[0]);
        let (mut at, mut round) = (0, 0);
        while at < ids.len() {
            let end = (at + pieces[round % pieces.len()]).min(ids.len());
            let logits = host(lm.forward(token_tensor(&ids[at..end], 1, &lm.device()), &mut cache).expect("its own cache"));
            let size = base.vocab().size();
            for (i, row) in logits.chunks(size).enumerate() {
                prop_assert!(close(row, &oracle(&base, &value, 0.7, &ids[..=at + i])), "position {}", at + i);
            }
            let (complete, _) = text(base.vocab(), &ids[..end]);
            prop_assert_eq!(held(&cache, 0), tokenizer.ids(&complete), "after {} tokens", end);
            // Take some tokens back, and read them again with the next piece.
            let keep = end - back[round % back.len()].min(end - at).min(end - 1);
            at = if round < 20 { keep } else { end };
            cache.truncate(at);
            prop_assert_eq!(cache.len(), at);
            round += 1;
        }
    }

    #[test]
    fn one_step_equals_the_whole(text_ in texts(), choices in prop::collection::vec(0usize..7, 1..9)) {
        let (base, value, lm) = cross(1.0);
        let ids = cut(&text_, &choices);
        let next = host(lm.next_logits(token_tensor(&ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache"));
        prop_assert!(close(&next, &oracle(&base, &value, 1.0, &ids)));
        let scores = &score(&lm, &[&ids]).expect("fits")[0];
        for i in 1..ids.len() {
            let expected = log_softmax(&oracle(&base, &value, 1.0, &ids[..i]))[ids[i] as usize];
            prop_assert!((f64::from(scores.logprobs[i].expect("predicted")) - expected).abs() < 1e-3 * (1.0 + expected.abs()));
        }
    }

    #[test]
    fn rows_of_a_batch_are_apart(a in texts(), b in texts(), choices in prop::collection::vec(0usize..7, 1..9)) {
        let (.., lm) = cross(0.5);
        let prompts = [cut(&a, &choices), cut(&b, &choices), vec![0]];
        let sampling = SamplingConfig::default().temperature(1.3);
        let config = GenerateConfig::default().max_new_tokens(6).sampling(sampling).seed(5).end_tokens(vec![1]);
        let run = |prompts: &[Vec<u32>], seed| {
            let mut rows = vec![Vec::new(); prompts.len()];
            for step in generate(&lm, prompts, &config.clone().seed(seed)).expect("valid") {
                let step = step.expect("finite");
                rows[step.row].push((step.token, step.logprob));
            }
            rows
        };
        for (row, together) in run(&prompts, 5).into_iter().enumerate() {
            let alone = run(&prompts[row..=row], 5 + row as u64).remove(0);
            prop_assert_eq!(alone.len(), together.len());
            for (alone, together) in alone.iter().zip(&together) {
                prop_assert_eq!(alone.0, together.0);
                prop_assert!((alone.1 - together.1).abs() < 1e-3);
            }
            // Generation and scoring give the same log-probabilities.
            let ids: Vec<u32> = prompts[row].iter().copied().chain(together.iter().map(|step| step.0)).collect();
            let scores = &score(&lm, &[&ids]).expect("fits")[0];
            for (scored, step) in scores.logprobs[prompts[row].len()..].iter().zip(&together) {
                prop_assert!((scored.expect("predicted") - step.1).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn tokens_without_a_value_keep_their_joint_probability(
        seed in 0u64..1000,
        shift in -50.0f64..50.0,
        alpha in -1.5f64..1.5,
    ) {
        let (base, value) = (Toy::new(seed, base_vocab()), Toy::new(seed + 1, value_vocab()));
        let map = exact_map(base.vocab(), value.vocab());
        let device = base.device();
        let b = base.oracle(&[0]).pop().expect("one");
        let v = value.oracle(&[0]).pop().expect("one");
        let projection = map.on(&device);
        let fused = |shift: f64| {
            let rows = |logits: &[f64], shift: f64| {
                let logits: Vec<f32> = logits.iter().map(|x| (x + shift) as f32).collect();
                burn::tensor::Tensor::<1>::from_floats(logits.as_slice(), &device).unsqueeze::<2>()
            };
            let logits = host(projection.add(rows(&b, 0.0), projection.rows(rows(&v, shift)), alpha));
            log_softmax(&logits.into_iter().map(f64::from).collect::<Vec<_>>())
        };
        let unmapped = |logprobs: &[f64]| map.without_value().iter().map(|&id| logprobs[id as usize].exp()).sum::<f64>();
        let (plain, shifted) = (fused(0.0), fused(shift));
        prop_assert!((unmapped(&plain) - unmapped(&log_softmax(&b))).abs() < 1e-5);
        prop_assert!(plain.iter().zip(&shifted).all(|(a, b)| (a - b).abs() < 1e-3), "a constant changes nothing");
    }
}

#[test]
fn equal_vocabularies_fuse_as_one() {
    let (base, value) = (Toy::new(3, value_vocab()), Toy::new(8, value_vocab()));
    let map = exact_map(base.vocab(), value.vocab());
    let tokenizer = Greedy::new(value.vocab());
    let ids = tokenizer.ids("ababa bb☃é a");
    let same =
        FusedLm::new(Box::new(base.clone()), vec![Value::new(Box::new(value.clone()), 0.6)]).expect("same");
    let cross = fused(&base, value, 0.6, map, tokenizer).expect("fits");
    let expected = host(
        same.forward(token_tensor(&ids, 1, &same.device()), &mut same.new_cache(&[0]))
            .expect("its own cache"),
    );
    let got = host(
        cross
            .forward(token_tensor(&ids, 1, &cross.device()), &mut cross.new_cache(&[0]))
            .expect("its own cache"),
    );
    // Where a prefix of the text is cut as the whole is, which greedy cutting does at the ends of these tokens.
    let size = cross.vocab().size();
    for (i, (got, expected)) in got.chunks(size).zip(expected.chunks(size)).enumerate() {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "position {i}");
    }
}

#[test]
fn where_the_value_cannot_read_the_base_stands_alone() {
    let (base, value) = (Toy::new(3, base_vocab()), Toy::new(8, vocab(&["a", "b"])));
    let map = exact_map(base.vocab(), value.vocab());
    let tokenizer = Greedy::new(value.vocab());
    assert!(matches!(tokenizer.tokenize("a☃"), Err(Error::Unwritable { .. })));
    let lm = fused(&base, value, 1.0, map, tokenizer).expect("fits");
    let ids = cut("a☃", &[0]);
    let got = host(
        lm.forward(token_tensor(&ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache"),
    );
    let size = base.vocab().size();
    let alone = host(
        base.forward(token_tensor(&ids, 1, &base.device()), &mut base.new_cache(&[0]))
            .expect("its own cache"),
    );
    assert_eq!(got[got.len() - size..], alone[alone.len() - size..]);
    assert_ne!(got[..size], alone[..size]);
}

#[test]
fn alpha_zero_is_the_base_and_foreign_maps_are_refused() {
    let (base, value, lm) = cross(0.0);
    let ids = cut("ab☃ ba", &[1, 0]);
    let bits = |lm: &dyn CausalLm| score(lm, &[&ids]).expect("fits")[0].logprobs.clone();
    assert_eq!(bits(&lm), bits(&base));
    let map = exact_map(value.vocab(), base.vocab());
    let tokenizer = Greedy::new(value.vocab());
    let refused = fused(&base, value, 1.0, map, tokenizer);
    assert!(matches!(refused, Err(Error::ForeignMap { .. })));
}

#[test]
fn a_weight_may_change_within_a_text() {
    let ids = cut("ab☃ baab", &[1, 0, 2]);
    let whole = |alpha| {
        let (_, _, lm) = cross(alpha);
        cumulative_logits(&lm, &ids)
    };
    for (before, after) in [(0.0, 0.7), (0.7, 0.0), (1.0, -0.5)] {
        let (_, _, mut lm) = cross(before);
        let mut cache = lm.new_cache(&[0]);
        lm.forward(token_tensor(&ids[..3], 1, &lm.device()), &mut cache).expect("its own cache");
        lm.set_alpha(0, after).expect("one value");
        let rest =
            host(lm.forward(token_tensor(&ids[3..], 1, &lm.device()), &mut cache).expect("its own cache"));
        let expected = &whole(after)[1][3 * lm.vocab().size()..];
        assert!(rest.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{before} to {after}");
    }
    let (base, _, lm) = cross(0.7);
    let alone = host(
        base.forward(token_tensor(&ids, 1, &lm.device()), &mut base.new_cache(&[0])).expect("its own cache"),
    );
    assert_eq!(whole(0.7)[0], alone);
}

#[test]
fn a_gate_asks_where_it_opens_and_the_value_catches_up_in_its_own_tokens() {
    let ids = cut("ab☃ baab", &[1, 0, 2]);
    let (base, _, whole) = cross(0.8);
    let read = |lm: &dyn CausalLm, ids: &[u32], cache: &mut Cache| {
        host(lm.forward(token_tensor(ids, 1, &lm.device()), cache).expect("its own cache"))
    };
    let fused = read(&whole, &ids, &mut whole.new_cache(&[0]));
    let alone = read(&base, &ids, &mut base.new_cache(&[0]));
    let gated = GatedLm::new(cross(0.8).2, Gate::Every { tokens: 3 });
    let mut cache = gated.new_cache(&[0]);
    let size = base.vocab().size();
    for (position, id) in ids.iter().enumerate() {
        let got = read(&gated, &[*id], &mut cache);
        let expected = if position % 3 == 0 { &fused } else { &alone };
        let expected = &expected[position * size..(position + 1) * size];
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "position {position}");
    }
    assert_eq!(gated.log().counts().value_passes, ids.len().div_ceil(3));
}

/// The base's control tokens reach the value under the value's own names.
#[test]
fn control_tokens_are_read_by_role() {
    struct Names;
    impl Retokenizer for Names {
        fn tokenize(&self, text: &str) -> Result<Vec<ivl_core::cross_tokenizer::TokenEnd>, Error> {
            let mut written = vec![ivl_core::cross_tokenizer::TokenEnd { id: 0, end: 0 }];
            let mut rest = text;
            while let Some(letter) = rest.chars().next() {
                let (id, len) =
                    if rest.starts_with("</s>") { (1, 4) } else { (if letter == 'a' { 2 } else { 3 }, 1) };
                rest = &rest[len..];
                written.push(ivl_core::cross_tokenizer::TokenEnd { id, end: text.len() - rest.len() });
            }
            Ok(written)
        }
    }
    let (base, value) = (Toy::new(3, vocab(&["ab", "b", "a"])), Toy::new(8, vocab(&["a", "b"])));
    let map = exact_map(base.vocab(), value.vocab());
    let lm = fused(&base, value, 1.0, map, Names).expect("fits");
    let mut cache = lm.new_cache(&[2]);
    lm.forward(token_tensor(&[0, 0, 0, 2, 1, 3], 1, &lm.device()), &mut cache).expect("its own cache");
    assert_eq!(held(&cache, 0), [0, 2, 3, 1, 3], "<s> is written by the value, </s> by its name");
}

#[test]
fn one_pass_gives_the_logits_of_every_weight() {
    let ids = [0, 6, 7, 8, 4, 5, 10, 1, 9, 2];
    let tokens = || token_tensor(&ids, 2, &burn::tensor::Device::flex());
    let at = Positions::Indices(&[0, 1, 3, 4, 8, 8]);
    let (_, _, lm) = cross(1.0);
    let components = lm.component_logits(tokens(), at, &mut lm.new_cache(&[0, 0])).expect("its own cache");
    for alpha in [0.0, 0.5, 1.0, 1.75] {
        let (_, _, other) = cross(alpha);
        let expected =
            other.select_logits(tokens(), at, &mut other.new_cache(&[0, 0])).expect("its own cache");
        let expected = host(expected.all());
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        assert!(close(&host(components.rows(0..6).weighted(&[alpha])), &expected), "alpha {alpha}");
        let vocab = expected.len() / 6;
        assert!(
            close(&host(components.rows(2..4).weighted(&[alpha])), &expected[2 * vocab..4 * vocab]),
            "alpha {alpha}"
        );
    }
}
