//! Recurrent layers under everything that cuts a text back, copies it, or joins it with others: the logits are always those of the
//! plain pass. `parity.rs` compares that pass with transformers.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::decode::{Draft, EndTokens, GenerateConfig, Pace, Session, Speculation, generate, speculate};
use ivl_core::fusion::{BaseLm, DecodeBatch};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
use ivl_models::families::read_config;
use ivl_models::{Checkpoint, PackedFormat, TransformerLm, initialize};

const FAMILIES: [&str; 2] = ["lfm2", "qwen3_5_text"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn vocab(size: usize) -> Vocab {
    Vocab::new((0..size).map(|id| Some(Token::text(id.to_le_bytes()))).collect())
}

/// A fixture with Burn's operations, or with kernels, whose logits are the same bits however a text is read.
fn lm(name: &str, kernels: bool) -> TransformerLm {
    let checkpoint = Checkpoint::open(&fixture(name)).expect("opens");
    let net = match kernels {
        true => checkpoint.load(&Device::flex(), PackedFormat::F32),
        false => checkpoint.load(&Device::flex(), DType::F32),
    };
    TransformerLm::new(net.expect("loads"), vocab(checkpoint.config().vocab_size), name)
}

/// Every family with both.
fn models() -> impl Iterator<Item = (String, bool, TransformerLm)> {
    let all = FAMILIES.into_iter().flat_map(|name| [(name, false), (name, true)]);
    all.map(|(name, kernels)| (format!("{name}, kernels {kernels}"), kernels, lm(name, kernels)))
}

fn text(seed: u32, len: usize) -> Vec<u32> {
    let mut next = seed;
    let mut id = || {
        next = (next * 73 + 29) % 101;
        next
    };
    (0..len).map(|_| id()).collect()
}

fn read(lm: &dyn CausalLm, ids: &[u32], rows: usize, cache: &mut Cache) -> Vec<f32> {
    let logits = lm.forward(token_tensor(ids, rows, &lm.device()), cache).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

fn whole(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    read(lm, ids, 1, &mut lm.new_cache(&[0]))
}

#[track_caller]
fn assert_same(what: &str, kernels: bool, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= if kernels { 0.0 } else { 5e-5 }, "{what}: differs by {worst}");
}

/// Logits at the end of a text of several rows.
fn last(logits: &[f32], rows: usize, vocab: usize) -> Vec<f32> {
    logits.chunks(logits.len() / rows).flat_map(|row| &row[row.len() - vocab..]).copied().collect()
}

#[test]
fn a_text_may_be_read_in_any_two_pieces_and_token_by_token() {
    for (name, kernels, lm) in models() {
        let ids = text(5, 70);
        let expected = whole(&lm, &ids);
        for cut in (1..70).step_by(if kernels { 1 } else { 9 }) {
            let mut cache = lm.new_cache(&[0]);
            let mut got = read(&lm, &ids[..cut], 1, &mut cache);
            got.extend(read(&lm, &ids[cut..], 1, &mut cache));
            assert_same(&format!("{name}, cut at {cut}"), kernels, &got, &expected);
        }
        let mut cache = lm.new_cache(&[0]);
        let got: Vec<f32> = ids.iter().flat_map(|&id| read(&lm, &[id], 1, &mut cache)).collect();
        assert_same(&name, kernels, &got, &expected);
    }
}

/// Cuts a text back and goes on with other tokens, again and again; with and without steps in between.
#[test]
fn a_text_may_be_cut_back_to_any_length() {
    for (name, kernels, lm) in models() {
        let (mut cache, mut ids) = (lm.new_cache(&[0]), Vec::new());
        for (turn, (kept, new)) in [
            (0, 40),
            (39, 1),
            (40, 5),
            (42, 1),
            (43, 1),
            (44, 1),
            (41, 9),
            (50, 30),
            (12, 3),
            (0, 9),
            (8, 20),
            (28, 1),
        ]
        .into_iter()
        .enumerate()
        {
            cache.truncate(kept);
            ids.truncate(kept);
            assert_eq!(cache.len(), ids.len());
            assert!(cache.resumable(kept) <= kept);
            let more = text(turn as u32 + 3, new);
            ids.extend(&more);
            let got = read(&lm, &more, 1, &mut cache);
            let expected = whole(&lm, &ids);
            let expected = &expected[expected.len() - got.len()..];
            assert_same(&format!("{name}, turn {turn}"), kernels, &got, expected);
        }
        // Twice without a step in between, and single steps for a long time.
        for step in 0..40 {
            ids.push(step);
            read(&lm, &[step], 1, &mut cache);
        }
        cache.truncate(60);
        cache.truncate(47);
        ids.truncate(47);
        ids.push(7);
        let (got, expected) = (read(&lm, &[7], 1, &mut cache), whole(&lm, &ids));
        assert_same(&name, kernels, &got, &expected[expected.len() - got.len()..]);
        assert_eq!(cache.resumable(47), 47, "a snapshot where the text was cut");
    }
}

#[test]
fn copies_of_a_text_that_was_cut_back_go_on_apart() {
    for (name, kernels, lm) in models() {
        let ids = text(9, 30);
        let mut cache = lm.new_cache(&[0]);
        read(&lm, &ids, 1, &mut cache);
        for kept in [30, 29, 7] {
            let mut copies = cache.clone();
            copies.truncate(kept);
            copies.select(&[0, 0, 0]);
            let vocab = lm.vocab().size();
            let got = last(&read(&lm, &[4, 5, 6], 3, &mut copies), 3, vocab);
            let expected: Vec<f32> = [4, 5, 6]
                .into_iter()
                .flat_map(|id| last(&whole(&lm, &[&ids[..kept], &[id]].concat()), 1, vocab))
                .collect();
            assert_same(&format!("{name}, {kept}"), kernels, &got, &expected);
        }
    }
}

/// Rows of a continuous batch: they join with texts of other lengths, are cut back, leave, and come again.
#[test]
fn rows_come_and_go() {
    for (name, kernels, lm) in models() {
        let lm = BaseLm::plain(lm);
        let mut texts = [text(2, 20), text(3, 5), text(4, 33)];
        let alone = |ids: &[u32]| {
            let mut batch = DecodeBatch::new(&lm, &[0], vec![Vec::new()]).expect("no values");
            batch.next_logits(&lm, token_tensor(ids, 1, &lm.device())).expect("its own cache");
            batch
        };
        let check = |batch: &mut DecodeBatch, texts: &mut [Vec<u32>], what: &str| {
            for step in 0..3 {
                let new: Vec<u32> = (0..texts.len() as u32).map(|row| 11 * row + step).collect();
                texts.iter_mut().zip(&new).for_each(|(text, id)| text.push(*id));
                let logits = batch.next_logits(&lm, token_tensor(&new, texts.len(), &lm.device()));
                let got: Vec<f32> = logits.expect("reads").last().into_data().try_into_vec().expect("f32");
                let expected: Vec<f32> =
                    texts.iter().flat_map(|text| last(&whole(&lm, text), 1, lm.vocab().size())).collect();
                assert_same(&format!("{name}, {what}, step {step}"), kernels, &got, &expected);
            }
        };
        let mut batch = DecodeBatch::empty(&lm).expect("no values");
        for text in &texts {
            batch.join(alone(text)).expect("one model");
        }
        check(&mut batch, &mut texts, "joined");
        // All are cut back, so all is read again.
        batch.truncate(batch.len() - 2);
        for text in &mut texts {
            text.truncate(text.len() - 2);
        }
        check(&mut batch, &mut texts, "cut back");
        batch.keep(&[1, 0]);
        let mut texts = vec![texts[1].clone(), texts[0].clone()];
        check(&mut batch, &mut texts, "left");
        // One that was cut back and not read since.
        let mut late = alone(&text(6, 25));
        late.truncate(17);
        batch.join(late).expect("one model");
        texts.push(text(6, 25)[..17].to_vec());
        check(&mut batch, &mut texts, "joined late");
        batch.truncate(batch.len() - 1);
        for text in &mut texts {
            text.truncate(text.len() - 1);
        }
        batch.keep(&[0]);
        check(&mut batch, &mut texts[..1], "left after a cut");
    }
}

/// Lengths that end inside chunks and at their ends.
#[test]
fn texts_in_one_row_do_not_see_each_other() {
    let rows: [&[usize]; 2] = [&[70, 1, 57, 20], &[64, 3, 64]];
    for (name, _, lm) in models() {
        let (seq, vocab) = (148, lm.vocab().size());
        let texts = rows.map(|lens| lens.iter().map(|&len| text(len as u32, len)).collect::<Vec<_>>());
        let mut ids = Vec::new();
        for (row, texts) in texts.iter().enumerate() {
            ids.extend(texts.concat());
            ids.resize((row + 1) * seq, 0);
        }
        let segmented = || {
            let mut cache = lm.new_cache(&[0; 2]);
            cache.segment(&rows.map(<[usize]>::to_vec)).expect("two rows");
            cache
        };
        let packed = read(&lm, &ids, 2, &mut segmented());
        for (row, texts) in texts.iter().enumerate() {
            let mut start = row * seq;
            for text in texts {
                let here = &packed[start * vocab..(start + text.len()) * vocab];
                assert_same(&format!("{name}, row {row} at {start}"), false, here, &whole(&lm, text));
                start += text.len();
            }
        }
        let mut cache = segmented();
        let first: Vec<u32> = ids.chunks(seq).flat_map(|row| &row[..66]).copied().collect();
        let second: Vec<u32> = ids.chunks(seq).flat_map(|row| &row[66..]).copied().collect();
        let pieces = [read(&lm, &first, 2, &mut cache), read(&lm, &second, 2, &mut cache)];
        let expected = packed.chunks(seq * vocab).map(|row| row.split_at(66 * vocab));
        let (before, after): (Vec<_>, Vec<_>) = expected.unzip();
        assert_same(&name, false, &pieces[0], &before.concat());
        assert_same(&name, false, &pieces[1], &after.concat());
    }
}

/// A base with a value, both recurrent; the value's weights are random.
fn fused(base: &str, kernels: bool) -> FusedLm {
    let checkpoint = Checkpoint::open(&fixture(base)).expect("opens");
    let net = checkpoint.config().init(&Device::flex());
    let weights = PackedFormat::F32;
    let net = initialize(net, 3, 0.3, weights);
    let value = TransformerLm::new(net, vocab(checkpoint.config().vocab_size), "value");
    FusedLm::new(Box::new(lm(base, kernels)), vec![Value::new(Box::new(value), 0.5)]).expect("one vocabulary")
}

#[test]
fn drafts_change_no_token() {
    for name in FAMILIES {
        let target = fused(name, true);
        let config = GenerateConfig::default().max_new_tokens(50).end_tokens(EndTokens::none());
        let prompt = text(8, 13);
        let plain: Vec<u32> = generate(&target, &[&prompt], &config)
            .expect("valid")
            .map(|step| step.expect("finite").token)
            .collect();
        // The base alone guesses wrong now and then; another model nearly always.
        for (length, draft) in [3, 8].into_iter().flat_map(|length| {
            let model = |draft: &str, with| {
                Draft::model(Box::new(lm(draft, true)), target.vocab(), with).expect("one vocabulary")
            };
            let other = FAMILIES[usize::from(name == FAMILIES[0])];
            let lookup = Draft::prompt_lookup(1).expect("one");
            [
                (length, model(name, true)),
                (length, model(name, false)),
                (length, model(other, true)),
                (length, lookup),
            ]
        }) {
            let speculation = Speculation::new(draft, Pace::fixed(length));
            let mut texts = speculate(&target, speculation, &[&prompt], &config).expect("valid");
            let ours: Vec<u32> = texts.by_ref().map(|step| step.expect("finite").token).collect();
            assert_eq!(ours, plain, "{name}, {length} tokens at once");
        }
    }
}

#[test]
fn a_session_reuses_what_it_knows_the_state_of() {
    for name in FAMILIES {
        let lm = fused(name, true);
        let config = GenerateConfig::default().max_new_tokens(12).end_tokens(EndTokens::none());
        let mut session = Session::new(&lm);
        let mut prompt = text(8, 40);
        for turn in 0..4 {
            let answer: Vec<u32> = session
                .generate(&lm, &prompt, &config)
                .expect("valid")
                .map(|step| step.expect("finite").token)
                .collect();
            let fresh: Vec<u32> = generate(&lm, &[&prompt], &config)
                .expect("valid")
                .map(|step| step.expect("finite").token)
                .collect();
            assert_eq!(answer, fresh, "{name}, turn {turn}");
            prompt.extend(&answer[..answer.len() - usize::from(turn % 2 == 1)]);
            prompt.extend(text(turn, 5));
        }
        let again = session.generate(&lm, &prompt, &config).expect("valid").reused();
        assert!(again >= 40, "{name}: {again} tokens");
    }
}

#[test]
fn caches_of_other_layers_are_refused() {
    let (lfm, qwen) = (lm("lfm2_bias", true), lm("qwen3_5", true));
    let mut cache = lfm.new_cache(&[0]);
    read(&lfm, &[1, 2, 3], 1, &mut cache);
    let refused =
        qwen.forward(token_tensor(&[4], 1, &qwen.device()), &mut cache).expect_err("another model's");
    assert!(matches!(refused, Error::ForeignCache { .. }), "{refused}");
    assert!(refused.to_string().contains("a state of 3 inputs"), "{refused}");
}

#[test]
fn rotations_that_follow_the_length_are_refused() {
    for name in FAMILIES {
        let path = fixture(name).join("config.json");
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("an object");
        json.insert("rope_scaling".to_owned(), serde_json::json!({"rope_type": "dynamic", "factor": 2.0}));
        let refused = read_config(&json, &path).expect_err("a state cannot follow").to_string();
        assert!(refused.contains("rope_parameters"), "{refused}");
    }
}
