//! One step of a batch of rows, as the server takes it: a base of 24 million parameters alone, and with a value of a fifth
//! of its size that half of the rows take. Random weights; the shapes are Llama's, with a tied head over 32k ids.

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ivl_core::{Batch, CausalLm, FusedLm, Token, Value, Vocab, token_tensor};
use ivl_models::families::read_config;
use ivl_models::{TransformerLm, initialize};

const VOCAB: usize = 32_000;
const PROMPT: usize = 64;

fn model(hidden: usize, layers: usize, heads: usize) -> Box<dyn CausalLm> {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": hidden * 8 / 3,
        "num_hidden_layers": layers, "num_attention_heads": heads, "max_position_embeddings": 2048,
        "tie_word_embeddings": true,
    });
    let map = json.as_object().expect("an object");
    let (_, config) = read_config(map, "bench".as_ref()).expect("a configuration");
    let device = Device::flex();
    let vocab = Vocab::new((0..VOCAB as u32).map(|id| Some(Token::text(id.to_le_bytes()))).collect());
    Box::new(TransformerLm::new(initialize(config.init(&device), 1, 0.02, &device), vocab, "bench"))
}

fn batch(c: &mut Criterion) {
    let value = Value::new(model(128, 4, 4), 1.0);
    let lm = FusedLm::new(model(384, 6, 6), vec![value]).expect("one vocabulary");
    let mut group = c.benchmark_group("step");
    group.sample_size(10);
    for (name, weight) in [("base alone", 0.0), ("half with a value", 0.5)] {
        for rows in [1, 4, 8, 16, 32] {
            let weights = (0..rows).map(|row| vec![if row % 2 == 0 { weight } else { 0.0 }]).collect();
            // Every other prompt is shorter, as texts in a server are.
            let padding: Vec<usize> = (0..rows).map(|row| if row % 2 == 1 { 16 } else { 0 }).collect();
            let mut read = Batch::new(&lm, &padding, weights);
            lm.next_logits_rows(token_tensor(&vec![7; rows * PROMPT], rows, &lm.device()), &mut read);
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                let mut batch = read.clone();
                b.iter(|| {
                    let tokens = token_tensor(&vec![9; rows], rows, &lm.device());
                    black_box(lm.next_logits_rows(tokens, &mut batch).fused.into_data());
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
