//! Byte-level fusion against brute force: every sequence of value tokens is tried, and the definition decides which of
//! them agree with a base token.

mod greedy;
mod toy;

use burn::tensor::{Device, Int, Tensor};
use greedy::{Greedy, vocab};
use ivl_core::causal_lm::Positions;
use ivl_core::cross_tokenizer::{ByteFusedLm, ByteFusion, ByteFusionConfig};
use ivl_core::fusion::{BaseLm, DecodeBatch};
use ivl_core::score::score;
use ivl_core::tokens::{PaddedBatch, token_tensor};
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, ValueStack, Vocab, VocabMap};
use proptest::prelude::*;
use toy::{Toy, host, log_softmax};

fn exact() -> ByteFusionConfig {
    ByteFusionConfig::default().unseen(0.0).branches(100_000)
}

fn exact_map(base: &Vocab, value: &Vocab) -> VocabMap {
    let same = |id: u32| (0..value.size() as u32).find(|&other| value.token(other) == base.token(id));
    VocabMap::new((0..base.size() as u32).map(same).collect(), base, value).expect("a map")
}

struct Three {
    base: Toy,
    reference: Toy,
    value: Toy,
    alpha: f64,
}

impl Three {
    fn new(seed: u64, base: Vocab, value: Vocab, alpha: f64) -> Self {
        let [base, reference, value] =
            [(0, base), (1, value.clone()), (2, value)].map(|(i, vocab)| Toy::new(seed + 10 * i, vocab));
        Self { base, reference, value, alpha }
    }

    fn fuse(&self, config: ByteFusionConfig) -> ByteFusedLm {
        let map = exact_map(self.base.vocab(), self.value.vocab());
        let [base, reference, value] =
            [&self.base, &self.reference, &self.value].map(|toy| Box::new(toy.clone()));
        let tokenizer = Box::new(Greedy::new(self.value.vocab()));
        let base = BaseLm::Plain(base);
        ByteFusedLm::new(ByteFusion {
            base,
            reference,
            value,
            alpha: self.alpha,
            map: &map,
            tokenizer,
            config,
        })
        .expect("fits")
    }

    /// Next-token probabilities under the reference and the tilted reference.
    fn next(&self, ids: &[u32]) -> [Vec<f64>; 2] {
        let reference = self.reference.oracle(ids).pop().expect("one");
        let value = self.value.oracle(ids).pop().expect("one");
        let tilted: Vec<f64> = reference.iter().zip(&value).map(|(r, v)| r + self.alpha * v).collect();
        [reference, tilted].map(|logits| log_softmax(&logits).into_iter().map(f64::exp).collect())
    }

    /// The fused logits after base ids, by trying every sequence of value tokens.
    fn oracle(&self, ids: &[u32]) -> Vec<f64> {
        let (base, value) = (self.base.vocab(), self.value.vocab());
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| base.text_bytes(id).to_vec()).collect();
        let complete = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(error) => error.valid_up_to(),
        };
        let read: Vec<u32> = Greedy::new(value)
            .cut(&bytes[..complete])
            .expect("covered")
            .iter()
            .map(|token| token.id)
            .collect();
        let event = Event { three: self, ids, bytes: &bytes };
        // Every hypothesis, from the one that keeps all of the value's tokens.
        let (mut masses, mut total) = (vec![[0.0; 2]; base.size()], [0.0; 2]);
        let mut tail = bytes[complete..].to_vec();
        for kept in (1..=read.len()).rev() {
            let path = (1..kept).map(|at| {
                let next = self.next(&read[..at]);
                next.map(|next| next[read[at] as usize])
            });
            let path = path.fold([1.0, 1.0], |a: [f64; 2], b| [a[0] * b[0], a[1] * b[1]]);
            let all = kept == read.len();
            for (j, mass) in masses.iter_mut().enumerate() {
                let found = event.mass(&read[..kept], &tail, all, j as u32);
                (0..2).for_each(|i| mass[i] += path[i] * found[i]);
            }
            let found = event.everything(&read[..kept], &tail, all);
            (0..2).for_each(|i| total[i] += path[i] * found[i]);
            tail = [value.text_bytes(read[kept - 1]), &tail].concat();
            let grows =
                |id: u32| value.text_bytes(id).len() > tail.len() && value.text_bytes(id).starts_with(&tail);
            if !(0..value.size() as u32).any(grows) || value.text_bytes(read[kept - 1]).is_empty() {
                break;
            }
        }
        let b = self.base.oracle(ids).pop().expect("one");
        b.iter()
            .zip(&masses)
            .map(|(b, mass)| {
                let advantage = (mass[1] / total[1]).ln() - (mass[0] / total[0]).ln();
                b + if advantage.is_finite() { advantage } else { 0.0 }
            })
            .collect()
    }
}

/// The definition, as a predicate on sequences of value tokens.
struct Event<'a> {
    three: &'a Three,
    ids: &'a [u32],
    bytes: &'a [u8],
}

impl Event<'_> {
    fn is_base_token(&self, bytes: &[u8]) -> bool {
        let vocab = self.three.base.vocab();
        (0..vocab.size() as u32).any(|id| !bytes.is_empty() && vocab.text_bytes(id) == bytes)
    }

    fn value_tokens(&self) -> Vec<(u32, Vec<u8>)> {
        let vocab = self.three.value.vocab();
        let token = |id| (id, vocab.text_bytes(id).to_vec());
        (0..vocab.size() as u32).map(token).filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    /// Whether a token that goes `beyond` the text would have made the base choose a longer token than it did, at a place
    /// inside the tail.
    fn contradicts(&self, tail: usize, beyond: &[u8]) -> bool {
        let (mut end, vocab) = (0, self.three.base.vocab());
        self.ids.iter().any(|&id| {
            let start = end;
            end += vocab.text_bytes(id).len();
            let inside = end > start && end > self.bytes.len() - tail;
            inside
                && (1..=beyond.len())
                    .any(|n| self.is_base_token(&[&self.bytes[start..], &beyond[..n]].concat()))
        })
    }

    /// The longest value token that some bytes start with.
    fn first(&self, bytes: &[u8]) -> Option<(u32, Vec<u8>)> {
        let tokens = self.value_tokens().into_iter();
        tokens.filter(|(_, token)| bytes.starts_with(token)).max_by_key(|(_, token)| token.len())
    }

    /// The mass of all sequences after `kept` that spell the tail and then base token `j`.
    fn mass(&self, kept: &[u32], tail: &[u8], all: bool, j: u32) -> [f64; 2] {
        let base = self.three.base.vocab();
        let bytes = base.text_bytes(j);
        if bytes.is_empty() {
            // `<s>` and `</s>` have the same ids on both sides, and come only where nothing waits.
            let control = all && tail.is_empty() && base.token(j).is_some();
            return if control { self.three.next(kept).map(|next| next[j as usize]) } else { [0.0; 2] };
        }
        let (mut sum, mut stack) = ([0.0; 2], vec![(kept.to_vec(), [1.0; 2], [tail, bytes].concat(), true)]);
        while let Some((context, weight, rest, is_first)) = stack.pop() {
            let next = self.three.next(&context);
            for (id, token) in self.value_tokens() {
                let weight = [0, 1].map(|i| weight[i] * next[i][id as usize]);
                let contradicted = is_first
                    && token.len() > tail.len()
                    && self.contradicts(tail.len(), &token[tail.len()..]);
                if is_first && token.len() <= tail.len() && !all || contradicted {
                    continue;
                }
                if let Some(beyond) = token.strip_prefix(rest.as_slice()) {
                    // The base would have taken a longer token.
                    let longer =
                        (1..=beyond.len()).any(|n| self.is_base_token(&[bytes, &beyond[..n]].concat()));
                    if !longer {
                        (0..2).for_each(|i| sum[i] += weight[i]);
                    }
                } else if let Some(rest_) = rest.strip_prefix(token.as_slice()) {
                    // The value's own way to write it: the longest token, and no detour where one token writes it all.
                    let whole = self.value_tokens().iter().any(|(_, token)| *token == rest);
                    if !whole && self.first(&rest).is_some_and(|(first, _)| first == id) {
                        stack.push(([context.as_slice(), &[id]].concat(), weight, rest_.to_vec(), false));
                    }
                }
            }
        }
        sum
    }

    /// The mass of everything that agrees with the text so far.
    fn everything(&self, kept: &[u32], tail: &[u8], all: bool) -> [f64; 2] {
        if tail.is_empty() {
            return [1.0; 2];
        }
        let next = self.three.next(kept);
        let mut sum = [0.0; 2];
        for (id, token) in self.value_tokens() {
            let goes_on = token.len() > tail.len() && token.starts_with(tail);
            let agrees = goes_on && !self.contradicts(tail.len(), &token[tail.len()..]);
            let waits = all && self.first(tail).is_some_and(|(first, _)| first == id);
            if agrees || waits {
                (0..2).for_each(|i| sum[i] += next[i][id as usize]);
            }
        }
        sum
    }
}

fn base_vocab() -> Vocab {
    let snowman = "☃".as_bytes();
    vocab(&[
        &b"u"[..],
        b"n",
        b"d",
        b"er",
        b"un",
        b"und",
        b" u",
        b"nd",
        b" ",
        &snowman[..1],
        &snowman[1..],
        b"under",
    ])
}

fn value_vocab() -> Vocab {
    let snowman = "☃".as_bytes();
    vocab(&[
        &b"u"[..],
        b"n",
        b"d",
        b"e",
        b"r",
        b" ",
        b"under",
        b"unde",
        b" un",
        b"ndu",
        b"underd",
        &snowman[..2],
        &snowman[2..],
        "☃u".as_bytes(),
        "☃".as_bytes(),
    ])
}

/// Base ids of a text, cut at random.
fn cut(text: &str, choices: &[usize]) -> Vec<u32> {
    let (vocab, mut rest, mut ids) = (base_vocab(), text.as_bytes(), vec![0]);
    let mut choices = choices.iter().cycle();
    while !rest.is_empty() {
        let fits = |id: &u32| !vocab.text_bytes(*id).is_empty() && rest.starts_with(vocab.text_bytes(*id));
        let fits: Vec<u32> = (0..vocab.size() as u32).filter(fits).collect();
        let id = fits[choices.next().expect("endless") % fits.len()];
        rest = &rest[vocab.text_bytes(id).len()..];
        ids.push(id);
    }
    ids
}

fn logits(lm: &dyn CausalLm, ids: &[u32]) -> Vec<Vec<f32>> {
    let logits =
        host(lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache"));
    logits.chunks(lm.vocab().size()).map(<[f32]>::to_vec).collect()
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["u", "n", "d", "er", "under", " un", "☃", "nd"]), 0..7)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_logit_is_that_of_brute_force(
        seed in 0u64..1000,
        alpha in -1.0f64..1.0,
        text in texts(),
        choices in prop::collection::vec(0usize..5, 1..6),
    ) {
        let three = Three::new(seed, base_vocab(), value_vocab(), alpha);
        let (lm, ids) = (three.fuse(exact()), cut(&text, &choices));
        for (position, got) in logits(&lm, &ids).iter().enumerate() {
            let expected = three.oracle(&ids[..=position]);
            for (id, (got, expected)) in got.iter().zip(&expected).enumerate() {
                prop_assert!(
                    (f64::from(*got) - expected).abs() < 2e-3 * (1.0 + expected.abs()),
                    "position {position}, id {id}: {got} {expected}"
                );
            }
        }
        prop_assert_eq!(lm.unseen(), 0.0);
    }

    #[test]
    fn equal_vocabularies_are_fused_as_one(seed in 0u64..1000, alpha in -1.0f64..1.0, text in texts()) {
        let three = Three::new(seed, value_vocab(), value_vocab(), alpha);
        let ids = Greedy::new(&value_vocab()).ids(&text);
        let value = Value::new(Box::new(three.value.clone()), alpha);
        let same = FusedLm::new(Box::new(three.base.clone()), vec![value]).expect("same");
        let distribution = |logits: &Vec<f32>| log_softmax(&logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        for (position, (got, expected)) in
            logits(&three.fuse(exact()), &ids).iter().zip(&logits(&same, &ids)).enumerate()
        {
            // The fusion of one vocabulary is only defined where both read the same tokens.
            let cut: String = ids[..=position].iter().map(|&id| String::from_utf8_lossy(three.base.vocab().text_bytes(id))).collect();
            if Greedy::new(&value_vocab()).ids(&cut) != ids[..=position] { continue }
            let difference = distribution(got).into_iter().zip(distribution(expected)).map(|(a, b)| (a - b).abs());
            prop_assert!(difference.fold(0.0, f64::max) < 1e-3, "position {position}");
        }
    }

    #[test]
    fn what_is_not_seen_errs_by_no_more_than_the_bound(
        seed in 0u64..1000,
        text in texts(),
        branches in 0usize..4,
        choices in prop::collection::vec(0usize..5, 1..6),
    ) {
        let three = Three::new(seed, base_vocab(), value_vocab(), 1.0);
        let ids = cut(&text, &choices);
        let pruned = three.fuse(ByteFusionConfig::default().unseen(0.0).branches(branches));
        let one = |lm: &ByteFusedLm| host(lm.next_logits(token_tensor(&ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache"));
        let (q_logits, p_logits) = (one(&pruned), one(&three.fuse(exact())));
        let p = log_softmax(&p_logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let q = log_softmax(&q_logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let mass = |logprobs: &[f64]| -> f64 {
            let differs = (0..logprobs.len()).filter(|&id| (p_logits[id] - q_logits[id]).abs() > 1e-5);
            differs.map(|id| logprobs[id].exp()).sum()
        };
        let distance: f64 = p.iter().zip(&q).map(|(p, q)| (p.exp() - q.exp()).abs()).sum::<f64>() / 2.0;
        prop_assert!(distance <= mass(&p).max(mass(&q)) + 1e-4, "{distance} {} {}", mass(&p), mass(&q));
        prop_assert!(mass(&q) <= pruned.unseen() + 1e-4, "what differs was reported: {} {}", mass(&q), pruned.unseen());
    }

    #[test]
    fn pieces_and_rollback_change_nothing(
        seed in 0u64..1000,
        text in texts(),
        choices in prop::collection::vec(0usize..5, 1..6),
        pieces in prop::collection::vec(1usize..4, 1..6),
    ) {
        let lm = Three::new(seed, base_vocab(), value_vocab(), 0.8).fuse(exact());
        let ids = cut(&text, &choices);
        let whole = logits(&lm, &ids);
        let mut cache = lm.new_cache(&[0]);
        let (mut at, mut back, mut pieces) = (0, 3, pieces.iter().cycle());
        while at < ids.len() {
            let end = (at + pieces.next().expect("endless")).min(ids.len());
            let got = host(lm.forward(token_tensor(&ids[at..end], 1, &lm.device()), &mut cache).expect("its own cache"));
            let expected: Vec<f32> = whole[at..end].concat();
            prop_assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + b.abs())));
            at = if back > 0 { end.saturating_sub(2).max(at) } else { end };
            back -= i32::from(back > 0);
            cache.truncate(at);
        }
    }
}

#[test]
fn a_weight_may_change_within_a_text() {
    let ids = cut("under un☃nd", &[1, 0, 2]);
    for (before, after) in [(0.0, 0.7), (0.7, 0.0), (1.0, -0.5)] {
        let fuse = |alpha| Three::new(5, base_vocab(), value_vocab(), alpha).fuse(exact());
        let (mut lm, whole) = (fuse(before), logits(&fuse(after), &ids));
        let mut cache = lm.new_cache(&[0]);
        lm.forward(token_tensor(&ids[..4], 1, &lm.device()), &mut cache).expect("its own cache");
        lm.set_alpha(0, after).expect("one value");
        let rest =
            host(lm.forward(token_tensor(&ids[4..], 1, &lm.device()), &mut cache).expect("its own cache"));
        let same = rest.iter().zip(whole[4..].concat()).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + b.abs()));
        assert!(same, "{before} to {after}");
    }
}

#[test]
fn logits_where_they_are_asked_for_are_those_of_the_whole() {
    let lm = Three::new(3, base_vocab(), value_vocab(), 0.8).fuse(exact());
    let rows = [cut("under un☃nd", &[1, 0, 2]), cut("un☃ under", &[0, 2])];
    let batch = PaddedBatch::new(&rows, lm.vocab()).expect("fits");
    let tokens = || batch.columns(0, batch.seq, &lm.device());
    let whole = host(lm.forward(tokens(), &mut lm.new_cache(&batch.padding)).expect("its own cache"));
    let positions = [batch.seq + 4, 3, 2 * batch.seq - 1, 5, 3];
    let mut cache = lm.new_cache(&batch.padding);
    let components = lm.component_logits(tokens(), Positions::Indices(&positions), &mut cache);
    let components = components.expect("its own cache");
    let size = lm.vocab().size();
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + b.abs()));
    for (row, &position) in positions.iter().enumerate() {
        let expected = &whole[position * size..(position + 1) * size];
        assert!(close(&host(components.rows(row..row + 1).fused()), expected), "position {position}");
    }
    // Positions without a request were read too.
    let next = || token_tensor(&[rows[0][0], rows[1][0]], 2, &lm.device());
    let mut all = lm.new_cache(&batch.padding);
    lm.forward(tokens(), &mut all).expect("its own cache");
    assert!(close(
        &host(lm.next_logits(next(), &mut cache).expect("its own cache")),
        &host(lm.next_logits(next(), &mut all).expect("its own cache"))
    ));
}

#[test]
fn rows_of_a_batch_take_it_in_their_own_weights() {
    let texts = [cut("under un☃nd", &[1, 0, 2]), cut("und", &[0]), cut("☃under u", &[2, 1]), cut("un", &[0])];
    let weights = [0.7, 0.0, -0.4, 0.7];
    let fuse = |alpha| Three::new(5, base_vocab(), value_vocab(), alpha).fuse(exact());
    let lm = fuse(1.0);
    let mut batch = DecodeBatch::empty(&lm).expect("its own cache");
    // Read in two groups up to their last two tokens, then together.
    for rows in [0..2, 2..4] {
        let begun: Vec<&[u32]> = texts[rows.clone()].iter().map(|ids| &ids[..ids.len() - 2]).collect();
        let padded = PaddedBatch::new(&begun, lm.vocab()).expect("not empty");
        let mut joining =
            DecodeBatch::new(&lm, &padded.padding, weights[rows].iter().map(|&w| vec![w]).collect())
                .expect("its own cache");
        joining.next_logits(&lm, padded.columns(0, padded.seq, &lm.device())).expect("its own cache");
        batch.join(joining).expect("one model");
    }
    let ends: Vec<u32> = texts.iter().flat_map(|ids| ids[ids.len() - 2..].to_vec()).collect();
    let read = batch.forward(&lm, token_tensor(&ends, 4, &lm.device())).expect("its own cache");
    let (size, fused) = (lm.vocab().size(), host(read.last()));
    for (row, (ids, weight)) in texts.iter().zip(weights).enumerate() {
        let alone = logits(&fuse(weight), ids)[ids.len() - 2..].concat();
        let got = &fused[row * 2 * size..(row + 1) * 2 * size];
        let close = got.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + b.abs()));
        assert!(close, "row {row}: {got:?} {alone:?}");
    }
    batch.keep(&[1, 3]);
    let read = batch.next_logits(&lm, token_tensor(&[4, 4], 2, &lm.device())).expect("its own cache");
    assert_eq!(host(read.base())[..size], host(read.last())[..size], "a row of weight 0");
    let alone = logits(&fuse(0.7), &[texts[3].as_slice(), &[4]].concat()).pop().expect("one");
    assert!(
        host(read.last())[size..].iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + b.abs()))
    );
}

/// A value of zero everywhere.
struct Zero(Vocab);

impl CausalLm for Zero {
    fn vocab(&self) -> &Vocab {
        &self.0
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(ivl_core::cache::LayerCache::new(0, padding))
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        cache.layers(0)?.advance(seq);
        Ok(Tensor::zeros([batch, seq, self.0.size()], &self.device()))
    }
}

#[test]
fn a_value_of_nothing_changes_nothing() {
    let (base, reference) = (Toy::new(1, base_vocab()), Toy::new(2, value_vocab()));
    let map = exact_map(base.vocab(), reference.vocab());
    let lm = ByteFusedLm::new(ByteFusion {
        base: BaseLm::plain(base.clone()),
        tokenizer: Box::new(Greedy::new(reference.vocab())),
        reference: Box::new(reference),
        value: Box::new(Zero(value_vocab())),
        alpha: 1.0,
        map: &map,
        config: ByteFusionConfig::default(),
    });
    let lm = lm.expect("fits");
    let ids = cut("under ☃und", &[1, 0, 2]);
    for (got, expected) in logits(&lm, &ids).iter().zip(&logits(&base, &ids)) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

/// Every string of three base tokens, and those that end before.
#[test]
fn the_probabilities_of_all_strings_sum_to_one() {
    let three = Three::new(7, vocab(&["a", "ab", "b"]), vocab(&["a", "b", "ba", "abb"]), 1.0);
    let lm = three.fuse(exact());
    let (mut sequences, mut open) = (Vec::new(), vec![vec![0]]);
    for length in 0..3 {
        let longer =
            open.iter().flat_map(|text: &Vec<u32>| (0..5).map(move |id| [text.as_slice(), &[id]].concat()));
        let (ended, going): (Vec<_>, Vec<_>) =
            longer.partition(|text| *text.last().expect("an id") == 1 || length == 2);
        sequences.extend(ended);
        open = going;
    }
    assert_eq!(sequences.len(), 1 + 4 + 16 * 5);
    let total: f64 = score(&lm, &sequences).expect("fits").iter().map(|score| score.sum().exp()).sum();
    assert!((total - 1.0).abs() < 1e-4, "{total}");
}

#[test]
fn alpha_zero_is_the_base_and_foreign_references_are_refused() {
    let three = Three::new(7, base_vocab(), value_vocab(), 0.0);
    let ids = cut("under un", &[0]);
    assert_eq!(logits(&three.fuse(exact()), &ids), logits(&three.base, &ids));
    let map = exact_map(three.base.vocab(), three.value.vocab());
    let build = |reference: Toy, unseen: f64| {
        let fusion = ByteFusion {
            base: BaseLm::plain(three.base.clone()),
            reference: Box::new(reference),
            value: Box::new(three.value.clone()),
            alpha: 1.0,
            map: &map,
            tokenizer: Box::new(Greedy::new(three.value.vocab())),
            config: exact().unseen(unseen),
        };
        ByteFusedLm::new(fusion).err()
    };
    assert!(matches!(build(three.base.clone(), 0.0), Some(Error::ForeignReference { .. })));
    assert!(matches!(
        build(three.reference.clone(), 1.5),
        Some(Error::InvalidSetting { name: "unseen", .. })
    ));
    assert!(build(three.reference.clone(), 0.1).is_none());
}
