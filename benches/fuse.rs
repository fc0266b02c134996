//! The fusion of one step's logits, beside its floor: one addition of the same tensors.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ivl_core::fusion::fuse;

fn fuse_logits(c: &mut Criterion) {
    let mut group = c.benchmark_group("fuse");
    let device = Device::flex();
    for vocab in [32_000, 151_936] {
        let random = || Tensor::<2>::random([1, vocab], Distribution::Normal(0.0, 1.0), &device);
        let (base, value) = (random(), random());
        group.bench_function(BenchmarkId::new("addition", vocab), |b| {
            b.iter(|| black_box(base.clone() + value.clone()));
        });
        for alpha in [1.0, 0.7] {
            group.bench_function(BenchmarkId::new(format!("alpha {alpha}"), vocab), |b| {
                b.iter(|| black_box(fuse(base.clone(), value.clone(), alpha)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fuse_logits);
criterion_main!(benches);
