//! Training from a base's logits on disk, against training with the base.

mod fixture;

use std::path::Path;
use std::rc::Rc;

use burn::tensor::Device;
use fixture::{base, config, examples, value};
use ivl_train::{
    BaseLogits, CacheSettings, CachedLogits, Event, Examples, LogitCache, Run, StepReport, train,
};

const VOCAB: usize = 48;

fn write(path: &Path, top_k: usize) -> LogitCache {
    let examples: Examples = examples().into();
    let BaseLogits::Lm(lm) = base("base").source else { panic!("in memory") };
    let settings = CacheSettings { batch_size: 3, ..CacheSettings::new("these", top_k) };
    let mut last = 0;
    LogitCache::write(path, &*lm, &examples, &settings, &mut |done| last = done).expect("writes");
    assert_eq!(last, examples.len());
    LogitCache::open(path, "these", &examples).expect("reads").expect("is there")
}

/// Losses of all steps, and the last held-out loss.
fn losses(source: BaseLogits) -> (Vec<f64>, f64) {
    let dir = tempfile::tempdir().expect("dir");
    let mut from = base("base");
    from.source = source;
    let mut run = Run::new(vec![from], value(), examples().into());
    run.eval = examples().into();
    let steps = Rc::new(std::cell::RefCell::new(Vec::new()));
    let sink = steps.clone();
    let trained = train(run, &config(dir.path()), move |event| {
        if let Event::Step(StepReport { loss, .. }) = event {
            sink.borrow_mut().push(loss);
        }
    })
    .expect("trains");
    (steps.take(), trained.evals[0].loss)
}

fn cached(cache: LogitCache) -> BaseLogits {
    let cache = Rc::new(cache);
    BaseLogits::Cached(CachedLogits { train: cache.clone(), eval: Some(cache), device: Device::flex() })
}

#[test]
fn whole_distributions_train_alike_and_cut_ones_nearly() {
    let dir = tempfile::tempdir().expect("dir");
    let (with_base, eval) = losses(base("base").source);
    let worst = |cache: LogitCache| {
        let (losses, last) = losses(cached(cache));
        assert_eq!(losses.len(), with_base.len());
        let worst = losses.iter().zip(&with_base).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        worst.max((last - eval).abs())
    };
    for top_k in [0, VOCAB, VOCAB + 5] {
        let cache = write(&dir.path().join("whole"), top_k);
        assert_eq!((cache.header().top_k, cache.header().mean_kl), (0, 0.0));
        assert!(worst(cache) < 1e-4);
    }
    // With the rest's mass exact, what is lost shrinks with every id kept, and the losses follow.
    let mut errors = Vec::new();
    for top_k in [4, 16, 47] {
        let cache = write(&dir.path().join("cut"), top_k);
        let header = cache.header().clone();
        assert!(header.mean_kl <= header.largest_kl);
        errors.push((header.mean_kl, worst(cache)));
    }
    assert!(errors[0].0 > errors[1].0 && errors[1].0 > errors[2].0, "{errors:?}");
    // A single id has all of the rest's mass: nothing is lost.
    assert!(errors[2].0 < 1e-9 && errors[2].1 < 1e-4, "{errors:?}");
    assert!(errors[0].1 < 0.5, "{errors:?}");
}

#[test]
fn what_is_lost_is_the_divergence_of_the_definition() {
    let dir = tempfile::tempdir().expect("dir");
    let examples = examples();
    let cache = write(&dir.path().join("cut"), 4);
    let batch = ivl_train::Batch::new(&examples.iter().collect::<Vec<_>>());
    let numbers = |source: BaseLogits| -> Vec<f32> {
        let mut base = base("base");
        base.source = source;
        let lazy = base.trained_logits(&batch, ivl_train::Split::Train).expect("in memory");
        lazy.rows(0..batch.targets.len()).into_data().try_into_vec().expect("f32")
    };
    let header = cache.header().clone();
    let (exact, cut) = (numbers(base("base").source), numbers(cached(cache)));
    let softmax = |row: &[f32]| {
        let weights: Vec<f64> = row.iter().map(|&x| f64::from(x).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect::<Vec<f64>>()
    };
    let mut divergences = Vec::new();
    for ((p, q), &target) in exact.chunks(VOCAB).zip(cut.chunks(VOCAB)).zip(&batch.targets) {
        let (p, q) = (softmax(p), softmax(q));
        assert!((p[target as usize] - q[target as usize]).abs() < 1e-6, "the target is always kept");
        assert!(p.iter().zip(&q).filter(|(p, q)| (*p - *q).abs() < 1e-6).count() >= 4);
        divergences.push(p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>());
    }
    let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
    assert!((mean - header.mean_kl).abs() < 1e-5, "{mean} {}", header.mean_kl);
    let largest = divergences.iter().copied().fold(0.0, f64::max);
    assert!((largest - header.largest_kl).abs() < 1e-5);
}

#[test]
fn a_foreign_or_torn_file_is_not_taken() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("cache");
    write(&path, 4);
    let examples: Examples = examples().into();
    let open = |fingerprint| LogitCache::open(&path, fingerprint, &examples).expect("reads");
    assert!(open("others").is_none());
    let bytes = std::fs::read(&path).expect("reads");
    for len in [bytes.len() - 1, 40, 15, 0] {
        std::fs::write(&path, &bytes[..len]).expect("writes");
        assert!(open("these").is_none(), "{len} bytes");
    }
    let mut huge = bytes.clone();
    huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, huge).expect("writes");
    assert!(open("these").is_none());
    std::fs::write(&path, bytes).expect("writes");
    assert!(open("these").is_some());
    assert!(!dir.path().join("cache.partial").exists());
}
