//! Learned gates against PyTorch (fixtures/make_learned_gate.py), and each way to add a gated value against the others.

mod toy;

use burn::tensor::{Device, Int, Tensor, TensorData};
use ivl_core::cache::LayerCache;
use ivl_core::causal_lm::Positions;
use ivl_core::decode::{Draft, GenerateConfig, Pace, Speculation, generate, speculate};
use ivl_core::fusion::{DecodeBatch, Gate, GatedLm, LearnedGate};
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, ValueStack, Vocab, VocabMap};
use serde_json::Value as Json;
use toy::{Toy, cumulative_logits, host, letters};

/// After the token at position `i`, whatever it is, the next logits are row `i`.
struct Rows(Vocab, Tensor<2>);

impl CausalLm for Rows {
    fn vocab(&self) -> &Vocab {
        &self.0
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn device(&self) -> Device {
        self.1.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(LayerCache::new(0, padding))
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        let cache = cache.layers(0)?;
        let start = cache.len();
        cache.advance(seq);
        Ok(self.1.clone().narrow(0, start, seq).unsqueeze::<3>().repeat_dim(0, batch))
    }
}

fn numbers(json: &Json) -> Vec<f64> {
    let number = |json: &Json| json.as_f64().unwrap_or(f64::NEG_INFINITY);
    json.as_array().expect("a list").iter().map(number).collect()
}

fn rows(json: &Json) -> Rows {
    let all: Vec<Vec<f64>> = json.as_array().expect("rows").iter().map(numbers).collect();
    let (count, size) = (all.len(), all[0].len());
    let flat: Vec<f32> = all.into_iter().flatten().map(|number| number as f32).collect();
    let tensor = Tensor::from_data(TensorData::new(flat, [count, size]), &Device::flex());
    Rows(letters(size, size), tensor)
}

fn gate(json: &Json) -> LearnedGate {
    let weights = numbers(&json["weights"]).try_into().expect("eight weights");
    LearnedGate::new(weights, json["bias"].as_f64().expect("a number")).expect("finite numbers")
}

/// The value of a case, at a weight.
fn value(case: &Json, base: &Vocab, alpha: f64) -> Value {
    let lm = rows(&case["value"]);
    if case["name"] == "partial" {
        return Value::partial(Box::new(lm), alpha);
    }
    if case["neutral"] == false {
        return Value::new(Box::new(lm), alpha);
    }
    let ids = case["map"].as_array().expect("ids").iter().map(|id| id.as_u64().map(|id| id as u32));
    let map = VocabMap::new(ids.collect(), base, lm.vocab()).expect("a map");
    Value::new(Box::new(lm), alpha).with_map(map)
}

fn close(got: &[f32], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (f64::from(*got) - expected).abs() < 2e-5 * (1.0 + expected.abs()),
            "{what}: {got} {expected}"
        );
    }
}

#[test]
fn features_gates_and_logits_are_those_of_pytorch() {
    let fixture: Json = serde_json::from_str(include_str!("fixtures/learned_gate.json")).expect("a fixture");
    let gate = gate(&fixture);
    for case in fixture["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let base = || rows(&case["base"]);
        let count = base().1.dims()[0];
        let tokens = || token_tensor(&vec![0; count], 1, &Device::flex());
        // Without a gate, the features.
        let plain = FusedLm::new(Box::new(base()), vec![value(case, base().vocab(), 1.0)]).expect("fits");
        let components = plain.component_logits(tokens(), Positions::All, &mut plain.new_cache(&[0]));
        let features = components.expect("its cache").rows(0..count).gate_features(0).expect("a value");
        for (row, features) in host(features).chunks(8).enumerate() {
            if case["features"][row].is_null() {
                assert!(features.iter().all(|feature| feature.is_finite()), "{name}: {features:?}");
                continue;
            }
            close(features, &numbers(&case["features"][row]), name);
            let features = std::array::from_fn(|index| f64::from(features[index]));
            close(&[gate.at(&features) as f32], &[case["gates"][row].as_f64().expect("a gate")], name);
        }
        for (index, alpha) in fixture["alphas"].as_array().expect("weights").iter().enumerate() {
            let alpha = alpha.as_f64().expect("a number");
            let expected: Vec<f64> =
                case["fused"][index].as_array().expect("rows").iter().flat_map(numbers).collect();
            let value = value(case, base().vocab(), alpha).with_gate(gate);
            let lm = FusedLm::new(Box::new(base()), vec![value]).expect("fits");
            let cache = || lm.new_cache(&[0]);
            close(&host(lm.forward(tokens(), &mut cache()).expect("its cache")), &expected, name);
            let mut used = cache();
            let selected = lm.select_logits(tokens(), Positions::All, &mut used).expect("its cache");
            close(&host(selected.all()), &expected, name);
            let mut used = cache();
            let components = lm.component_logits(tokens(), Positions::All, &mut used).expect("its cache");
            let parts = components.rows(0..count);
            close(&host(parts.fused()), &expected, name);
            // The gate does not depend on the weights.
            close(&host(parts.weighted(&[alpha])), &expected, name);
            close(&host(parts.weighted(&[0.0])), &rows_of(&case["base"]), name);
            // Token by token, as a server reads them; the second row has the weight 0.
            let mut batch = DecodeBatch::new(&lm, &[0, 0], vec![vec![alpha], vec![0.0]]).expect("its cache");
            let size = lm.vocab().size();
            for (position, expected) in expected.chunks(size).enumerate() {
                let logits = batch.next_logits(&lm, token_tensor(&[0, 0], 2, &Device::flex()));
                let logits = host(logits.expect("its cache").last());
                close(&logits[..size], expected, name);
                close(&logits[size..], &numbers(&case["base"][position]), name);
            }
        }
    }
}

fn rows_of(json: &Json) -> Vec<f64> {
    json.as_array().expect("rows").iter().flat_map(numbers).collect()
}

const SIZE: usize = 8;

fn toy(seed: u64) -> Toy {
    Toy::new(seed, letters(SIZE, SIZE))
}

/// A gate that differs much from position to position.
fn lively() -> LearnedGate {
    LearnedGate::new([1.0, -0.5, 0.7, 0.4, -1.2, 0.3, 0.8, 0.1], -0.4).expect("finite numbers")
}

fn gated(seed: u64, alpha: f64) -> Value {
    Value::new(Box::new(toy(seed)), alpha).with_gate(lively())
}

fn read(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let tokens = token_tensor(ids, 1, &lm.device());
    host(lm.forward(tokens, &mut lm.new_cache(&[0])).expect("its cache"))
}

fn same(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs())), "{a:?} {b:?}");
}

const TEXT: [u32; 9] = [3, 1, 4, 1, 5, 0, 2, 6, 5];

#[test]
fn a_gate_changes_the_logits_unless_it_is_one_or_the_weight_is_zero() {
    let fused = |value| FusedLm::new(Box::new(toy(1)), vec![value]).expect("one vocabulary");
    let plain = read(&fused(Value::new(Box::new(toy(4)), 0.8)), &TEXT);
    assert_eq!(read(&fused(Value::new(Box::new(toy(4)), 0.8).with_gate(LearnedGate::ONE)), &TEXT), plain);
    let changed = read(&fused(gated(4, 0.8)), &TEXT);
    assert!(plain.iter().zip(&changed).any(|(a, b)| (a - b).abs() > 0.1));
    assert_eq!(read(&fused(gated(4, 0.0)), &TEXT), read(&toy(1), &TEXT), "to the last bit");
}

#[test]
fn a_gate_reads_the_base_whatever_other_values_are_attached() {
    let values = || [gated(4, 0.8), gated(6, -0.5), Value::new(Box::new(toy(8)), 0.3)];
    let base = || Box::new(toy(1));
    let [first, second, third] = values();
    let flat = FusedLm::new(base(), vec![first, second, third]).expect("one vocabulary");
    let expected = read(&flat, &TEXT);
    let [first, second, third] = values();
    let other_order = FusedLm::new(base(), vec![third, second, first]).expect("one vocabulary");
    same(&read(&other_order, &TEXT), &expected);
    let [first, second, third] = values();
    let below = FusedLm::new(base(), vec![third]).expect("one vocabulary");
    let nested = FusedLm::on(below, vec![first, second]).expect("one vocabulary");
    same(&read(&nested, &TEXT), &expected);
    same(cumulative_logits(&nested, &TEXT).last().expect("logits"), &expected);
    let mut batch = DecodeBatch::new(&nested, &[0], vec![vec![0.3, 0.8, -0.5]]).expect("its cache");
    let logits = batch.forward(&nested, token_tensor(&TEXT, 1, &nested.device())).expect("its cache");
    same(&host(logits.last()), &expected);
}

#[test]
fn rows_with_weights_of_their_own_have_the_same_gates() {
    let lm = FusedLm::new(Box::new(toy(1)), vec![gated(4, 1.0), gated(6, 1.0)]).expect("one vocabulary");
    let weights = [[0.5, 0.0], [0.0, 1.0], [0.5, -1.0], [0.0, 0.0], [1.0, 1.0]];
    let mut batch =
        DecodeBatch::new(&lm, &[0; 5], weights.map(|row| row.to_vec()).to_vec()).expect("its cache");
    let tokens: Vec<u32> = TEXT.repeat(weights.len());
    let logits = batch.forward(&lm, token_tensor(&tokens, weights.len(), &lm.device()));
    let together = host(logits.expect("its cache").last());
    for (row, [first, second]) in together.chunks(TEXT.len() * SIZE).zip(weights) {
        let values = vec![gated(4, first), gated(6, second)];
        same(row, &read(&FusedLm::new(Box::new(toy(1)), values).expect("one vocabulary"), &TEXT));
    }
}

#[test]
fn drafts_change_no_token_of_a_gated_value() {
    let config = GenerateConfig::default().max_new_tokens(20);
    for below in [false, true] {
        let lm = || {
            let base = FusedLm::new(Box::new(toy(1)), vec![Value::new(Box::new(toy(8)), 0.3)]);
            match below {
                true => FusedLm::on(base.expect("one vocabulary"), vec![gated(4, 1.4)]),
                false => FusedLm::new(Box::new(toy(1)), vec![gated(4, 1.4)]),
            }
            .expect("one vocabulary")
        };
        let (plain, target) = (lm(), lm());
        let expected: Vec<u32> = generate(&plain, &[[0, 1]], &config)
            .expect("valid")
            .map(|step| step.expect("finite").token)
            .collect();
        for draft in [toy(1), toy(77)] {
            let draft = Draft::model(Box::new(draft), target.vocab(), true).expect("one vocabulary");
            let speculation = Speculation::new(draft, Pace::up_to(4));
            let written = speculate(&target, speculation, &[[0, 1]], &config).expect("valid");
            let written: Vec<u32> = written.map(|step| step.expect("finite").token).collect();
            assert_eq!(written, expected);
        }
    }
}

#[test]
fn a_threshold_chooses_positions_and_a_learned_gate_weighs_the_value_there() {
    let fused = || FusedLm::new(Box::new(toy(1)), vec![gated(4, 0.8)]).expect("one vocabulary");
    let (with, without) = (read(&fused(), &TEXT), read(&toy(1), &TEXT));
    let lm = GatedLm::new(fused(), Gate::Every { tokens: 3 });
    for (position, row) in read(&lm, &TEXT).chunks(SIZE).enumerate() {
        let expected = if position % 3 == 0 { &with } else { &without };
        same(row, &expected[position * SIZE..][..SIZE]);
    }
}
