//! Decoding with caches, token by token: a base without a value, and with one of a sixth of its size. Shapes of 24 and 134
//! million parameters (Llama, 32k vocabulary), random weights.

mod shapes;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ivl_core::tokens::token_tensor;
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::PackedFormat;
use shapes::llama;

fn decode(c: &mut Criterion) {
    let small = || Box::new(llama([384, 6, 6], true, PackedFormat::F32, 1));
    let large = || Box::new(llama([768, 12, 12], false, PackedFormat::F32, 2));
    let fused = FusedLm::new(large(), vec![Value::new(small(), 1.0)]).expect("one vocabulary");
    let models: [(&str, Box<dyn CausalLm>); 3] =
        [("24M", small()), ("134M", large()), ("134M + 24M", Box::new(fused))];
    let mut group = c.benchmark_group("decode");
    group.sample_size(20).throughput(Throughput::Elements(16));
    for (name, lm) in &models {
        let prompt: Vec<u32> = (0..64).collect();
        let mut cache = lm.new_cache(&[0]);
        lm.next_logits(token_tensor(&prompt, 1, &lm.device()), &mut cache).expect("its own cache");
        group.bench_function(*name, |b| {
            b.iter(|| {
                for token in 0..16 {
                    black_box(
                        lm.next_logits(token_tensor(&[token], 1, &lm.device()), &mut cache)
                            .expect("its own cache"),
                    );
                }
                cache.truncate(prompt.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
