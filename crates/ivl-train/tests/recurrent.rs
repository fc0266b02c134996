//! Qwen3.5 in small: a recurrent value is trained against a base of four layers and moved to one of eight. Cached, with drafts and in
//! continuous batches, base and value give what a plain pass over the text gives.

mod fixture;

use std::path::Path;
use std::rc::Rc;

use burn::tensor::{DType, Device};
use fixture::{config, examples, vocab};
use ivl_core::decode::{Draft, EndTokens, GenerateConfig, Pace, Speculation, generate, speculate};
use ivl_core::fusion::{BaseLm, DecodeBatch};
use ivl_core::tokens::token_tensor;
use ivl_core::{CausalLm, FusedLm, Value, VocabMap};
use ivl_models::families::read_config;
use ivl_models::transformer::LoraConfig;
use ivl_models::{PackedFormat, Transformer, TransformerLm, Weights, initialize};
use ivl_train::{BaseLogits, Event, FrozenBase, Run, train};

/// A random network in which every second layer is a gated delta network.
fn net(layers: usize, seed: u64, device: &Device, weights: impl Into<Weights>) -> Transformer {
    let json = serde_json::json!({
        "model_type": "qwen3_5_text", "vocab_size": 48, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": layers, "full_attention_interval": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "linear_num_key_heads": 1, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8, "max_position_embeddings": 256,
    });
    let json = json.as_object().expect("an object");
    let (_, config) = read_config(json, Path::new("config.json")).expect("reads");
    initialize(config.init(device), seed, 0.3, weights)
}

fn base(layers: usize, packed: bool) -> TransformerLm {
    let device = Device::flex();
    let net = match packed {
        true => net(layers, 7, &device, PackedFormat::F32),
        false => net(layers, 7, &device, DType::F32),
    };
    TransformerLm::new(net, vocab(), "base")
}

/// A value of two layers, trained against the small base.
fn trained() -> Transformer {
    trained_from(net(2, 1, &Device::flex().autodiff(), DType::F32))
}

/// Adapters on every projection of the small base, trained against it.
fn trained_adapters() -> Transformer {
    trained_from(net(4, 7, &Device::flex().autodiff(), DType::F32).with_lora(&LoraConfig::new(3), 1))
}

fn trained_from(value: Transformer) -> Transformer {
    let lm = base(4, false);
    let map = VocabMap::same_ids(lm.vocab(), &vocab()).expect("the same tokens");
    let base = FrozenBase::new("base", BaseLogits::Lm(Rc::new(lm)), map);
    let dir = tempfile::tempdir().expect("dir");
    let mut losses = Vec::new();
    let trained = train(Run::new(vec![base], value, examples().into()), &config(dir.path()), |event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
        }
    });
    let trained = trained.expect("trains");
    assert!(losses.last() < losses.first(), "{losses:?}");
    trained.value
}

fn fused(layers: usize, value: &Transformer) -> FusedLm {
    let packed = value.clone().packed(PackedFormat::F32);
    let value = TransformerLm::new(packed, vocab(), "value");
    FusedLm::new(Box::new(base(layers, true)), vec![Value::new(Box::new(value), 1.0)])
        .expect("one vocabulary")
}

fn plain_logits(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let logits = lm.next_logits(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0]));
    logits.expect("its own cache").into_data().try_into_vec().expect("f32")
}

/// What the largest logits of plain passes choose, with nothing kept in between.
fn plain_text(lm: &dyn CausalLm, prompt: &[u32], len: usize) -> Vec<u32> {
    let mut text = prompt.to_vec();
    for _ in 0..len {
        let logits = plain_logits(lm, &text);
        text.push(
            (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).expect("one")
                as u32,
        );
    }
    text.split_off(prompt.len())
}

#[test]
fn a_value_moves_to_a_larger_base_and_every_way_of_decoding_agrees() {
    every_way_of_decoding_agrees(&trained());
}

#[test]
fn adapters_move_to_a_larger_base_merged_or_not() {
    let adapters = trained_adapters();
    every_way_of_decoding_agrees(&adapters);
    let merged = adapters.clone().merged();
    every_way_of_decoding_agrees(&merged);
    let ids: Vec<u32> = (1..70).map(|id| id * 5 % 48).collect();
    let lm = |net: &Transformer| TransformerLm::new(net.clone(), vocab(), "value");
    let (apart, added) = (plain_logits(&lm(&adapters), &ids), plain_logits(&lm(&merged), &ids));
    let worst = apart.iter().zip(&added).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
}

fn every_way_of_decoding_agrees(value: &Transformer) {
    let (small, large) = (fused(4, value), fused(8, value));
    let prompt: Vec<u32> = (1..20).collect();
    let expected = plain_text(&large, &prompt, 40);
    assert_ne!(expected, plain_text(&base(8, true), &prompt, 40), "the value changes the text");
    let config = GenerateConfig::default().max_new_tokens(40).end_tokens(EndTokens::none());
    let cached: Vec<u32> = generate(&large, &[&prompt], &config)
        .expect("valid")
        .map(|step| step.expect("finite").token)
        .collect();
    assert_eq!(cached, expected, "cached");
    assert!(small.vocab() == large.vocab());
    for (length, with_value) in [(2, true), (6, true), (6, false)] {
        let draft = Draft::model(Box::new(base(4, true)), large.vocab(), with_value).expect("one vocabulary");
        let speculation = Speculation::new(draft, Pace::fixed(length));
        let mut texts = speculate(&large, speculation, &[&prompt], &config).expect("valid");
        let drafted: Vec<u32> = texts.by_ref().map(|step| step.expect("finite").token).collect();
        assert_eq!(drafted, expected, "{length} drafts, with the value {with_value}");
    }
}

#[test]
fn rows_of_a_continuous_batch_are_what_they_are_alone() {
    let large = fused(8, &trained());
    let lm = BaseLm::Stack(Box::new(large));
    let mut texts: Vec<(Vec<u32>, f64)> =
        vec![((1..12).collect(), 1.0), ((5..8).collect(), 0.0), ((9..40).collect(), 0.5)];
    let mut batch = DecodeBatch::empty(&lm).expect("caches of the value");
    for (text, weight) in &texts {
        let mut alone = DecodeBatch::new(&lm, &[0], vec![vec![*weight]]).expect("a value");
        alone.next_logits(&lm, token_tensor(text, 1, &lm.device())).expect("its own cache");
        batch.join(alone).expect("one model");
    }
    for step in 0..12u32 {
        if step == 6 {
            batch.keep(&[2, 0]);
            texts = vec![texts[2].clone(), texts[0].clone()];
        }
        let new: Vec<u32> = (0..texts.len() as u32).map(|row| (7 * row + step) % 48).collect();
        texts.iter_mut().zip(&new).for_each(|((text, _), id)| text.push(*id));
        let logits = batch.next_logits(&lm, token_tensor(&new, texts.len(), &lm.device())).expect("reads");
        let got: Vec<f32> = logits.last().into_data().try_into_vec().expect("f32");
        for ((text, weight), got) in texts.iter().zip(got.chunks(48)) {
            let mut alone = DecodeBatch::new(&lm, &[0], vec![vec![*weight]]).expect("a value");
            let expected =
                alone.next_logits(&lm, token_tensor(text, 1, &lm.device())).expect("its own cache");
            let expected: Vec<f32> = expected.last().into_data().try_into_vec().expect("f32");
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "step {step}, weight {weight}: {worst}");
        }
    }
}
