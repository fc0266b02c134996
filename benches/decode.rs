//! Decoding with caches, token by token: a base alone, and with a value of a sixth of its size. Shapes of 24 and 134
//! million parameters (Llama, 32k vocabulary), random weights.

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ivl_core::{CausalLm, FusedLm, Token, Value, Vocab, token_tensor};
use ivl_models::families::read_config;
use ivl_models::{TransformerLm, initialize};

const VOCAB: usize = 32_000;

fn model(hidden: usize, layers: usize, heads: usize, tied: bool) -> Box<dyn CausalLm> {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": hidden * 8 / 3,
        "num_hidden_layers": layers, "num_attention_heads": heads, "max_position_embeddings": 2048,
        "tie_word_embeddings": tied,
    });
    let map = json.as_object().expect("an object");
    let (_, config) = read_config(map, "bench".as_ref()).expect("a configuration");
    let device = Device::flex();
    let vocab = Vocab::new((0..VOCAB as u32).map(|id| Some(Token::text(id.to_le_bytes()))).collect());
    Box::new(TransformerLm::new(initialize(config.init(&device), 1, 0.02, &device), vocab, "bench"))
}

fn decode(c: &mut Criterion) {
    let (small, large) = (|| model(384, 6, 6, true), || model(768, 12, 12, false));
    let fused = FusedLm::new(large(), vec![Value::new(small(), 1.0)]).expect("one vocabulary");
    let models: [(&str, Box<dyn CausalLm>); 3] =
        [("24M", small()), ("134M", large()), ("134M + 24M", Box::new(fused))];
    let mut group = c.benchmark_group("decode");
    group.sample_size(20).throughput(Throughput::Elements(16));
    for (name, lm) in &models {
        let prompt: Vec<u32> = (0..64).collect();
        let mut cache = lm.new_cache(&[0]);
        lm.next_logits(token_tensor(&prompt, 1, &lm.device()), &mut cache);
        group.bench_function(*name, |b| {
            b.iter(|| {
                for token in 0..16 {
                    black_box(lm.next_logits(token_tensor(&[token], 1, &lm.device()), &mut cache));
                }
                cache.truncate(prompt.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
