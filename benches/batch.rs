//! One step of a batch of rows, as the server takes it: a base of 24 million parameters without a value, and with one of a fifth
//! of its size that half of the rows take. Random weights; the shapes are Llama's, with a tied head over 32k ids.

mod shapes;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ivl_core::fusion::DecodeBatch;
use ivl_core::tokens::token_tensor;
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::PackedFormat;
use shapes::llama;

const PROMPT: usize = 64;

fn batch(c: &mut Criterion) {
    let value = Value::new(Box::new(llama([128, 4, 4], true, PackedFormat::F32, 1)), 1.0);
    let lm = FusedLm::new(Box::new(llama([384, 6, 6], true, PackedFormat::F32, 2)), vec![value])
        .expect("one vocabulary");
    let mut group = c.benchmark_group("step");
    group.sample_size(10);
    for (name, weight) in [("base alone", 0.0), ("half with a value", 0.5)] {
        for rows in [1, 4, 8, 16, 32] {
            let weights = (0..rows).map(|row| vec![if row % 2 == 0 { weight } else { 0.0 }]).collect();
            // Every other prompt is shorter, as texts in a server are.
            let padding: Vec<usize> = (0..rows).map(|row| if row % 2 == 1 { 16 } else { 0 }).collect();
            let mut read = DecodeBatch::new(&lm, &padding, weights).expect("its own cache");
            read.next_logits(&lm, token_tensor(&vec![7; rows * PROMPT], rows, &lm.device()))
                .expect("its own cache");
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                let mut batch = read.clone();
                b.iter(|| {
                    let tokens = token_tensor(&vec![9; rows], rows, &lm.device());
                    black_box(batch.next_logits(&lm, tokens).expect("its own cache").last().into_data());
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
