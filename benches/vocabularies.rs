//! Values of another vocabulary: what a map adds to a decode step, how long a map takes to make, how fast a corpus is
//! counted. Vocabularies of pseudo-words (syllables, a leading space before every second), random weights.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ivl_align::{CooccurrenceCounter, Method, Pairing, TextPair, align};
use ivl_core::cross_tokenizer::TokenEnd;
use ivl_core::fusion::fuse;
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, FusedLm, Value, Vocab};
use ivl_models::families::read_config;
use ivl_models::{PackedFormat, TransformerLm, initialize};

const SIZES: [usize; 2] = [32_000, 128_000];

/// Word `n`: its digits as syllables.
fn word(n: usize) -> String {
    let (consonants, vowels) = (b"bcdfghklmnprstvz", b"aeiou");
    let (mut word, mut rest) = (String::from(if n.is_multiple_of(2) { " " } else { "" }), n / 2);
    loop {
        word.push(consonants[rest % 16].into());
        word.push(vowels[rest / 16 % 5].into());
        rest /= 80;
        if rest == 0 {
            return word;
        }
    }
}

/// Words `n * step`: with another step, another vocabulary with a part in common.
fn vocab(size: usize, step: usize) -> Vocab {
    Vocab::new((0..size).map(|n| Some(Token::text(word(n * step).into_bytes()))).collect())
}

fn model(vocab_size: usize, hidden: usize, layers: usize) -> Box<dyn CausalLm> {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": vocab_size, "hidden_size": hidden,
        "intermediate_size": hidden * 8 / 3, "num_hidden_layers": layers, "num_attention_heads": 6,
        "max_position_embeddings": 2048, "tie_word_embeddings": true,
    });
    let map = json.as_object().expect("an object");
    let (_, config) = read_config(map, "bench".as_ref()).expect("a configuration");
    let device = Device::flex();
    let net = initialize(config.init(&device), 1, 0.02, PackedFormat::F32);
    Box::new(TransformerLm::new(net, vocab(vocab_size, 1), "bench"))
}

/// A step of a 12-layer base with a 6-layer value, and within it the map: gather, neutral value, sum. The floor is the sum
/// of one vocabulary.
fn apply(c: &mut Criterion) {
    let device = Device::flex();
    for size in SIZES {
        let (base, value) = (vocab(size, 1), vocab(32_000, 3));
        let map = align(&base, &value, Method::Exact, None, &|_| ()).expect("aligns").map;
        let projection = map.on(&device);
        let random = |size| Tensor::<2>::random([1, size], Distribution::Normal(0.0, 1.0), &device);
        let (b, v, w) = (random(size), random(32_000), random(size));
        let mut group = c.benchmark_group(format!("map {size}"));
        group.bench_function("one vocabulary", |bench| {
            bench.iter(|| black_box(fuse(b.clone(), w.clone(), 1.0)));
        });
        group.bench_function("map", |bench| {
            bench.iter(|| black_box(projection.add(b.clone(), projection.rows(v.clone()), 1.0)));
        });
        let lm =
            FusedLm::new(model(size, 768, 12), vec![Value::new(model(size, 384, 6), 1.0)]).expect("fits");
        let mut cache = lm.new_cache(&[0]);
        let prompt: Vec<u32> = (0..64).collect();
        lm.next_logits(token_tensor(&prompt, 1, &device), &mut cache).expect("its own cache");
        group.sample_size(20).bench_function("fused step", |bench| {
            bench.iter(|| {
                black_box(lm.next_logits(token_tensor(&[7], 1, &device), &mut cache).expect("its own cache"));
                cache.truncate(prompt.len());
            });
        });
        group.finish();
    }
}

fn make(c: &mut Criterion) {
    let mut group = c.benchmark_group("align");
    group.sample_size(10);
    for size in SIZES {
        let (base, value) = (vocab(size, 1), vocab(32_000, 3));
        for method in [Method::Exact, Method::Prefix, Method::Hybrid] {
            group.bench_function(BenchmarkId::new(method.name(), size), |bench| {
                bench.iter(|| black_box(align(&base, &value, method, None, &|_| ()).expect("aligns")));
            });
        }
    }
    group.finish();
}

/// Lines of about thirty words that the value cuts in two.
fn count(c: &mut Criterion) {
    let (base, halves) = (vocab(32_000, 1), vocab(32_000, 1));
    let text = |line: usize| {
        let words = (0..30).map(|n| (line * 31 + n * 977) % 31_999 + 1);
        let (mut pair, mut at) = (TextPair::default(), 0);
        for n in words {
            let (first, second) = (n / 2 + 1, n % 160);
            pair.value.push(TokenEnd { id: first as u32, end: at + 2 });
            at += base.text_bytes(n as u32).len();
            pair.base.push(TokenEnd { id: n as u32, end: at });
            pair.value.push(TokenEnd { id: second as u32, end: at });
        }
        (pair, at)
    };
    let (texts, bytes): (Vec<TextPair>, Vec<usize>) = (0..4000).map(text).unzip();
    let mut group = c.benchmark_group("count");
    group.sample_size(10).throughput(Throughput::Bytes(bytes.iter().sum::<usize>() as u64));
    for (name, pairing) in [("bytes", Pairing::SameStart), ("warped", Pairing::Dtw)] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut counter = CooccurrenceCounter::new(&base, &halves, pairing);
                counter.count(&texts);
                black_box(counter.finish())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, apply, make, count);
criterion_main!(benches);
