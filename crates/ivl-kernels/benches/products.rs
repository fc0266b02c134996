//! Products with packed weights: one row (bytes of weights a second), and more (weights times rows a second).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ivl_kernels::{BlockFormat, Matrix, PackedFormat, products};

/// Matrices that one after the other are read like the layers of a model: more than the caches close to a core hold.
const MATRICES: usize = 24;

const SHAPE: [usize; 2] = [1536, 2048];

fn matrices(format: PackedFormat) -> Vec<Matrix> {
    let mut state = 1u32;
    let numbers: Vec<f32> = (0..SHAPE[0] * 64)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    let number = |input: usize, output: usize| numbers[output % 64 * SHAPE[0] + input];
    (0..MATRICES).map(|_| Matrix::new(format, SHAPE, number)).collect()
}

fn bench(c: &mut Criterion) {
    let mut formats = vec![PackedFormat::F32, PackedFormat::F16];
    formats
        .extend(BlockFormat::ALL.into_iter().filter(|format| format.is_written()).map(PackedFormat::Blocks));
    for format in formats {
        let name = format!("{format:?}");
        let matrices = matrices(format);
        let bytes: usize = matrices.iter().map(Matrix::bytes).sum();
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .measurement_time(std::time::Duration::from_secs(1))
            .warm_up_time(std::time::Duration::from_millis(200));
        for rows in [1, 4, 16, 256] {
            let x: Vec<f32> = (0..rows * SHAPE[0]).map(|at| (at % 37) as f32 / 18.0 - 1.0).collect();
            group.throughput(match rows {
                1 => Throughput::Bytes(bytes as u64),
                _ => Throughput::Elements((rows * SHAPE[0] * SHAPE[1] * MATRICES) as u64),
            });
            group.bench_function(BenchmarkId::from_parameter(rows), |b| {
                b.iter(|| {
                    for matrix in &matrices {
                        black_box(products(&x, [matrix]));
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
