//! Rows that join, leave, fork and weigh their values differently, against plain f64.

mod toy;

use ivl_core::fusion::DecodeBatch;
use ivl_core::tokens::{PaddedBatch, token_tensor};
use ivl_core::{CausalLm, FusedLm, Value};
use proptest::prelude::*;
use toy::{Toy, host, letters, numbers};

const SIZE: usize = 6;

fn toys() -> [Toy; 3] {
    [1, 5, 9].map(|seed| Toy::new(seed, letters(SIZE, SIZE)))
}

fn fused() -> FusedLm {
    let [base, first, second] = toys();
    let value = |toy: Toy| Value::new(Box::new(toy), 1.0);
    FusedLm::new(Box::new(base), vec![value(first), value(second)]).expect("one vocabulary")
}

/// Base and fused logits after the last token.
fn oracle(ids: &[u32], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let [base, first, second] = toys().map(|toy| toy.oracle(ids).pop().expect("a token"));
    let fused = (0..SIZE).map(|i| base[i] + weights[0] * first[i] + weights[1] * second[i]).collect();
    (base, fused)
}

fn close(ours: &[f32], oracle: &[f64]) {
    for (ours, oracle) in ours.iter().zip(oracle) {
        assert!((f64::from(*ours) - oracle).abs() < 1e-3, "{ours} is not {oracle}");
    }
}

/// Changes between two steps of the batch.
#[derive(Debug, Clone)]
enum Event {
    /// New rows read their prompts together and join.
    Join(Vec<(Vec<u32>, [f64; 2])>),
    /// Every row but those whose number modulo 3 is this one stays.
    Leave(usize),
    /// The first row is there twice.
    Fork,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let weight = prop_oneof![Just(0.0), Just(1.0), Just(-0.5), Just(0.25)];
    let prompt = prop::collection::vec(0..SIZE as u32, 1..7);
    let row = (prompt, [weight.clone(), weight]);
    let event = prop_oneof![
        3 => prop::collection::vec(row, 1..4).prop_map(Event::Join),
        1 => (0..3usize).prop_map(Event::Leave),
        1 => Just(Event::Fork),
    ];
    prop::collection::vec(event, 1..8)
}

fn read(lm: &FusedLm, rows: &[(Vec<u32>, [f64; 2])]) -> DecodeBatch {
    let prompts: Vec<&[u32]> = rows.iter().map(|(prompt, _)| prompt.as_slice()).collect();
    let padded = PaddedBatch::new(&prompts, lm.vocab()).expect("letters");
    let weights = rows.iter().map(|(_, weights)| weights.to_vec()).collect();
    let mut batch = DecodeBatch::new(lm, &padded.padding, weights).expect("its own cache");
    let logits = batch.next_logits(lm, padded.columns(0, padded.seq, &lm.device())).expect("its own cache");
    let (base, all) = (host(logits.base()), host(logits.last()));
    for (row, (prompt, weights)) in rows.iter().enumerate() {
        let (base_oracle, oracle) = oracle(prompt, weights);
        close(&base[row * SIZE..], &base_oracle);
        close(&all[row * SIZE..], &oracle);
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_sees_its_own_text_and_weights_whoever_comes_and_goes(events in events()) {
        let lm = fused();
        let mut batch = DecodeBatch::empty(&lm).expect("its own cache");
        let mut rows: Vec<(Vec<u32>, [f64; 2])> = Vec::new();
        for (round, event) in events.into_iter().enumerate() {
            match event {
                Event::Join(new) => {
                    batch.join(read(&lm, &new)).expect("one model");
                    rows.extend(new);
                }
                Event::Leave(leaving) => {
                    let kept: Vec<usize> = (0..rows.len()).filter(|row| row % 3 != leaving).collect();
                    batch.keep(&kept);
                    rows = kept.iter().map(|&row| rows[row].clone()).collect();
                }
                Event::Fork if !rows.is_empty() => {
                    let twice: Vec<usize> = std::iter::once(0).chain(0..rows.len()).collect();
                    batch.keep(&twice);
                    rows.insert(0, rows[0].clone());
                }
                Event::Fork => {}
            }
            prop_assert_eq!(batch.rows(), rows.len());
            let longest = rows.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
            prop_assert_eq!(batch.len(), longest, "no position is padding in every row");
            if rows.is_empty() {
                continue;
            }
            let tokens: Vec<u32> =
                numbers(round as u64, rows.len()).iter().map(|x| ((x + 1.0) * 3.0) as u32).collect();
            let logits = batch.next_logits(&lm, token_tensor(&tokens, rows.len(), &lm.device())).expect("its own cache");
            let (base, all) = (host(logits.base()), host(logits.last()));
            for (row, ((text, weights), token)) in rows.iter_mut().zip(tokens).enumerate() {
                text.push(token);
                let (base_oracle, oracle) = oracle(text, weights);
                close(&base[row * SIZE..], &base_oracle);
                close(&all[row * SIZE..], &oracle);
            }
        }
    }
}

#[test]
fn a_text_goes_on_from_its_beginning_under_other_weights() {
    let lm = fused();
    let read_both = read(&lm, &[(vec![0, 1, 2, 3, 4], [1.0, 0.5])]);
    let mut shorter = read_both.beginning(3, &[0.0, -1.0]).expect("both values have read it");
    let logits = shorter.next_logits(&lm, token_tensor(&[5, 0], 1, &lm.device())).expect("its own cache");
    close(&host(logits.last()), &oracle(&[0, 1, 2, 5, 0], &[0.0, -1.0]).1);

    let read_one = read(&lm, &[(vec![0, 1], [1.0, 0.0])]);
    assert!(read_one.beginning(1, &[0.0, 1.0]).is_none(), "the second value has not read it");
    assert!(read_one.beginning(1, &[0.0, 0.0]).is_some());
}

#[test]
fn all_positions_and_the_last_agree_and_weight_one_is_plain_addition() {
    let lm = fused();
    let ids = [0, 3, 1, 2];
    let tokens = || token_tensor(&ids, 1, &lm.device());
    let batch = || DecodeBatch::new(&lm, &[0], vec![vec![1.0, 1.0]]).expect("its own cache");
    let all = host(batch().forward(&lm, tokens()).expect("its own cache").last());
    let last = host(batch().next_logits(&lm, tokens()).expect("its own cache").last());
    assert_eq!(all[all.len() - SIZE..], last);
    assert_eq!(
        all,
        host(lm.forward(tokens(), &mut lm.new_cache(&[0])).expect("its own cache")),
        "to the last bit"
    );
    assert!(batch().is_empty());
}
