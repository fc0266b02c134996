//! Distillation against PyTorch, from a teacher in memory and from its most probable tokens on disk.

mod fixture;

use std::path::Path;
use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor};
use fixture::{assert_close, base, config, examples, golden, gradients_of, names, penalties, value};
use ivl_core::Vocab;
use ivl_core::vocab::Token;
use ivl_models::TransformerLm;
use ivl_train::{
    BaseLogits, BaseTarget, Batch, CacheSettings, CachedLogits, Criterion, DistillConfig, Event, Examples,
    LearnerSettings, LogitCache, MicroBatchGradients, ObjectiveKind, Run, Targets, Teacher,
    TeacherPredictions, TeacherTarget, TopTokens, ValueLearner, train, value_loss,
};

/// Ids of the bases; the teacher has four more.
const VOCAB: usize = 48;

/// The model `other`.
fn teacher_lm() -> TransformerLm {
    let net = fixture::net("other", &Device::flex());
    let tokens = (0..52u8).map(|id| Some(Token::text([id]))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "other")
}

/// The teacher in memory, or its `top_k` most probable tokens in a file of a directory.
fn teacher(temperature: f64, cached: Option<(&Path, usize)>) -> Teacher {
    let lm = teacher_lm();
    let source = match cached {
        None => BaseLogits::Lm(Rc::new(lm)),
        Some((dir, top_k)) => {
            let (path, examples) = (dir.join(format!("{top_k}-{temperature}")), Examples::from(examples()));
            let mut settings = CacheSettings::new("these", top_k);
            (settings.temperature, settings.vocab, settings.batch_size) = (temperature, VOCAB, 3);
            LogitCache::write(&path, &lm, &examples, &settings, &mut |_| ()).expect("writes");
            let cache = LogitCache::open(&path, "these", &examples).expect("reads").expect("is there");
            let cache = Rc::new(cache);
            let eval = Some(cache.clone());
            BaseLogits::Cached(CachedLogits { train: cache, eval, device: Device::flex() })
        }
    };
    Teacher::new("other", source, temperature, VOCAB)
}

fn check(case: &str, with_base: bool, teacher: &Teacher, cross_entropy: f64, l1: f64) {
    let (golden, examples, base) = (golden("distill.safetensors"), examples(), base("base"));
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    for head_rows in [0, 5] {
        let criterion = Criterion::Distill { temperature: teacher.temperature, cross_entropy };
        let regularization = penalties(l1, 0.0, 0.0);
        let settings = LearnerSettings { criterion, regularization, head_rows, ..Default::default() };
        let learner = ValueLearner::new(value(), settings);
        let target = with_base.then(|| BaseTarget::new(&base, 1.0, base.map.on(&learner.value.device())));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, target.into_iter().collect(), Some(teacher)).expect("in memory");
        let [cross_entropy, norm, _, _, divergence] =
            losses.terms[0].read().map(|sum| sum / batch.targets.len() as f64);
        let expected = &golden[&format!("{case}.terms")];
        let norm = if with_base { norm } else { expected[1] };
        for (got, expected) in [cross_entropy, norm, divergence].into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{case}: {got}, expected {expected}");
        }
        let gradients = gradients_of(&learner.value, &gradients);
        for (ours, theirs, shape) in names() {
            let expected = &golden[&format!("{case}.gradient.{theirs}")];
            assert_close(&format!("{case} {ours}"), &gradients[&ours], expected, shape, 1e-4);
        }
    }
}

#[test]
fn loss_and_gradients_equal_pytorch_with_all_tokens_of_the_teacher() {
    let dir = tempfile::tempdir().expect("dir");
    // In memory, and whole distributions on disk.
    for cached in [None, Some((dir.path(), 0))] {
        check("plain", true, &teacher(1.0, cached), 0.0, 0.0);
        check("mixed", true, &teacher(2.0, cached), 0.3, 0.2);
    }
}

#[test]
fn loss_and_gradients_equal_pytorch_with_its_most_probable_tokens() {
    let dir = tempfile::tempdir().expect("dir");
    check("top", true, &teacher(1.0, Some((dir.path(), 5))), 0.0, 0.0);
    check("top_mixed", true, &teacher(2.0, Some((dir.path(), 5))), 0.3, 0.2);
    check("alone", false, &teacher(1.5, Some((dir.path(), 7))), 0.1, 0.0);
}

/// On the CPU a kernel computes the divergence; under autodiff the backend's operations do, as on other devices.
#[test]
fn the_kernel_agrees_with_the_backends_operations() {
    let (rows, vocab, k) = (5, 203, 9);
    let some = |step: usize, scale: f32| -> Vec<f32> {
        let number = |index: usize| ((index * 7919 + step) % 2003) as f32 / 1001.0 - 1.0;
        (0..rows * vocab).map(|index| number(index) * scale).collect()
    };
    let ids: Vec<u32> = (0..rows * k).map(|at| ((at % k) * 22 + at / k) as u32).collect();
    let logprobs: Vec<f32> = (0..rows * k).map(|at| -2.5 - 0.1 * (at % k) as f32).collect();
    let rest: Vec<f32> =
        logprobs.chunks(k).map(|row| (1.0 - row.iter().map(|p| p.exp()).sum::<f32>()).ln()).collect();
    let top = TopTokens { ids, logprobs, rest };
    for all in [true, false] {
        let loss = |device: &Device| {
            let logits = |numbers: Vec<f32>| {
                Tensor::<1>::from_floats(numbers.as_slice(), device).reshape([rows, vocab])
            };
            let predictions = match all {
                true => TeacherPredictions::Logits(logits(some(3, 6.0))),
                false => TeacherPredictions::TopTokens(top.clone()),
            };
            let tokens = Tensor::<1, Int>::from_ints([0, 202, 31, 64, 5], device);
            let teacher = Some(TeacherTarget { predictions, temperature: 1.7 });
            let targets = Targets { tokens, weights: Some(vec![0.5, 0.0, -1.0, 2.0, 1.0]), teacher };
            let (base, value) = (logits(some(1, 8.0)), logits(some(2, 2.0)));
            let loss = value_loss(Some(base), value, targets, &penalties(0.3, 0.2, 0.7), 0.5);
            let gradient: Vec<f32> = loss.gradient.into_data().try_into_vec().expect("f32");
            (loss.terms.read(), gradient)
        };
        let cpu = Device::flex();
        let ((terms, gradient), (expected_terms, expected)) = (loss(&cpu), loss(&cpu.clone().autodiff()));
        for (term, expected) in terms.into_iter().zip(expected_terms) {
            assert!((term - expected).abs() < 1e-5 * expected.abs().max(1.0), "{term}, not {expected}");
        }
        let differences = gradient.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < 2e-6, "the gradient differs by {worst}");
    }
}

#[test]
fn a_run_reports_the_divergence_and_lowers_it() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    config.objective = ObjectiveKind::Distill;
    config.distill = Some(DistillConfig::new("other"));
    config.regularization.l1 = 0.0;
    let run = |teacher: Option<Teacher>| {
        let mut run = Run::new(vec![base("base")], value(), examples().into());
        (run.eval, run.teacher) = (examples().into(), teacher);
        run
    };
    let mut evals = Vec::new();
    let trained = train(run(Some(teacher(1.0, None))), &config, |event| {
        if let Event::Eval(eval) = event {
            evals.push(eval);
        }
    });
    let trained = trained.expect("trains");
    let golden = golden("distill.safetensors");
    let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-4, "{got}, expected {expected}");
    near(evals[0].loss, golden["plain.terms"][2]);
    near(evals[0].base_loss.expect("a base"), golden["plain.alone"][0]);
    assert!(trained.evals[0].loss < 0.6 * evals[0].loss, "{:?}", trained.evals);
    let refused = train(run(None), &config, |_| ()).expect_err("no teacher");
    assert!(refused.to_string().contains("`objective`"), "{refused}");
}

#[test]
fn held_out_predictions_that_are_not_on_disk_are_named() {
    let dir = tempfile::tempdir().expect("dir");
    let mut teacher = teacher(1.0, Some((dir.path(), 5)));
    if let BaseLogits::Cached(cached) = &mut teacher.source {
        cached.eval = None;
    }
    let mut config = config(dir.path());
    (config.objective, config.distill) = (ObjectiveKind::Distill, Some(DistillConfig::new("other")));
    let mut run = Run::new(vec![base("base")], value(), examples().into());
    (run.eval, run.teacher) = (examples().into(), Some(teacher));
    let error = train(run, &config, |_| ()).expect_err("not on disk");
    assert_eq!(
        error.to_string(),
        "the logits of `other` are not on disk for the held-out examples; load the model itself"
    );
}
