//! Speculative decoding of a base of 134 million parameters with a value of 24 million, drafted by a base of 24 million with
//! the same value, beside plain decoding of base and value, and of the base alone. Random weights (Llama shapes, 32k
//! vocabulary), so that the share of right guesses is set: the draft computes as a real one does, and then prefers the
//! token that the target will write with the given probability, and another one else.

mod shapes;

use burn::tensor::{Device, Int, Tensor, TensorData};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ivl_core::{
    Cache, CausalLm, Draft, FusedLm, GenerateConfig, Pace, Speculation, Value, Vocab, generate, speculate,
};
use shapes::llama;

const TOKENS: usize = 64;

/// A draft whose guesses are set beforehand.
struct Scripted {
    lm: Box<dyn CausalLm>,
    /// What it guesses at each position.
    guesses: Vec<u32>,
}

impl CausalLm for Scripted {
    fn vocab(&self) -> &Vocab {
        self.lm.vocab()
    }
    fn max_positions(&self) -> usize {
        self.lm.max_positions()
    }
    fn device(&self) -> Device {
        self.lm.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.lm.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        self.lm.forward(tokens, cache)
    }
    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let logits = self.lm.next_logits(tokens, cache);
        let guess = self.guesses.get(cache.len()).copied().unwrap_or_default() as usize;
        let preferred = Tensor::from_data(TensorData::from([[1e4f32]]), &self.device());
        logits.slice_assign([0..1, guess..guess + 1], preferred)
    }
}

/// The text with the share `right` of its tokens kept, evenly spread by a linear congruential generator.
fn guesses(text: &[u32], right: f64) -> Vec<u32> {
    let mut state = 1u64;
    let guess = |&token: &u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if ((state >> 11) as f64) < right * (1u64 << 53) as f64 { token } else { token ^ 1 }
    };
    text.iter().map(guess).collect()
}

fn speculative(c: &mut Criterion) {
    let small = |seed| llama(384, 6, 6, true, seed);
    let drafter = small(3);
    let prompt: Vec<u32> = (0..64).collect();
    let config = GenerateConfig { max_new_tokens: TOKENS, ..Default::default() };
    let target =
        FusedLm::new(Box::new(llama(768, 12, 12, false, 1)), vec![Value::new(Box::new(small(2)), 1.0)])
            .expect("one vocabulary");
    let written = generate(&target, &[&prompt], &config).expect("valid");
    let text: Vec<u32> =
        prompt.iter().copied().chain(written.map(|step| step.expect("finite").token)).collect();

    let mut group = c.benchmark_group("speculative");
    group.sample_size(10).throughput(Throughput::Elements(TOKENS as u64));
    let plain: [(&str, &dyn CausalLm); 2] = [("134M", target.base()), ("134M + 24M", &target)];
    for (name, lm) in plain {
        group.bench_function(name, |b| {
            b.iter(|| generate(lm, &[&prompt], &config).expect("valid").count());
        });
    }
    for right in [0.6, 0.7, 0.8, 0.9] {
        // Its weights, one model's for all measurements, are shared by their copies.
        let draft = || {
            let lm = Scripted { lm: Box::new(drafter.clone()), guesses: guesses(&text, right) };
            Draft::model(Box::new(lm), &target, true).expect("one vocabulary")
        };
        group.bench_function(format!("134M + 24M, drafts right at {right}"), |b| {
            b.iter(|| {
                let speculation = Speculation::new(draft(), Pace::up_to(16));
                let mut texts = speculate(&target, speculation, &[&prompt], &config).expect("valid");
                assert!(
                    texts.by_ref().map(|step| step.expect("finite").token).eq(text[64..].iter().copied())
                );
            });
        });
    }
    group.finish();
}

criterion_group!(benches, speculative);
criterion_main!(benches);
