//! The same gradient by other ways: in several micro-batches, on several devices, with recomputed activations, in bf16.

mod fixture;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use burn::tensor::{DType, Device};
use fixture::{base, config, examples, gradients_of, net, value};
use ivl_models::{Connection, Transformer};
use ivl_train::{
    Batch, Event, Example, LearnerSettings, Precision, Run, TrainConfig, Trained, ValueLearner, Worker,
    Workers, train,
};

/// Micro-batches of one step, each of so many examples.
fn micro_batches(sizes: &[usize]) -> Vec<Batch> {
    let examples = examples();
    let mut rest: &[Example] = &examples;
    let total = Batch::new(&examples.iter().collect::<Vec<_>>()).targets.len();
    let pass = |&size: &usize| {
        let (first, others) = rest.split_at(size);
        rest = others;
        Batch { step_tokens: total, ..Batch::new(&first.iter().collect::<Vec<_>>()) }
    };
    sizes.iter().map(pass).collect()
}

fn worker(device: Device) -> Worker {
    Worker { device, bases: Box::new(|| Ok(vec![base("base")])) }
}

fn gradients(
    micro_batches: Vec<Batch>,
    workers: Vec<Worker>,
    config: &TrainConfig,
) -> HashMap<String, Vec<f32>> {
    let settings =
        LearnerSettings { regularization: config.regularization.clone(), ..LearnerSettings::default() };
    let learner = ValueLearner::new(value(), settings);
    let workers = Workers::new(vec![base("base")], workers, config, 1);
    let gathered = workers.gradients(&learner, micro_batches, &[(0, 1.0)], 0).expect("a gradient");
    gradients_of(&learner.value, &gathered.gradients)
}

/// `|a - b| / |b|` over all parameters.
fn distance(a: &HashMap<String, Vec<f32>>, b: &HashMap<String, Vec<f32>>) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, b) in b {
        for (&a, &b) in a[name].iter().zip(b) {
            difference += f64::from(a - b).powi(2);
            norm += f64::from(b).powi(2);
        }
    }
    (difference / norm).sqrt()
}

fn config_in(dir: &tempfile::TempDir) -> TrainConfig {
    config(dir.path())
}

fn run(value: Transformer, workers: Vec<Worker>, config: &TrainConfig) -> (Trained, Vec<f64>) {
    let losses = Rc::new(RefCell::new(Vec::new()));
    let sink = losses.clone();
    let mut run = Run::new(vec![base("base")], value, examples().into());
    run.workers = workers;
    let trained = train(run, config, move |event| {
        if let Event::Step(step) = event {
            sink.borrow_mut().push(step.loss);
        }
    });
    (trained.expect("trains"), losses.take())
}

fn farthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn weights(value: &Transformer) -> Vec<Vec<f32>> {
    let data = |p: ivl_models::NamedParameter| p.tensor.into_data().try_into_vec().expect("f32");
    value.named_parameters().into_iter().map(data).collect()
}

#[test]
fn small_micro_batches_add_up_to_one_large_one() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config_in(&dir);
    let whole = gradients(micro_batches(&[4]), Vec::new(), &config);
    for sizes in [&[1, 1, 1, 1][..], &[2, 2], &[3, 1], &[1, 3]] {
        let distance = distance(&gradients(micro_batches(sizes), Vec::new(), &config), &whole);
        assert!(distance < 1e-6, "{sizes:?}: {distance:e}");
    }
}

#[test]
fn small_steps_follow_large_ones() {
    let losses = |batch_size, accumulation| {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = config_in(&dir);
        (config.steps.batch_size, config.steps.accumulation) = (batch_size, accumulation);
        run(value(), Vec::new(), &config).1
    };
    let whole = losses(4, 1);
    for (batch_size, accumulation) in [(1, 4), (2, 2), (3, 2)] {
        let farthest = farthest(&losses(batch_size, accumulation), &whole);
        assert!(farthest < 1e-6, "{batch_size} x {accumulation}: {farthest:e}");
    }
}

#[test]
fn two_workers_give_the_gradient_of_one() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config_in(&dir);
    for sizes in [&[2, 2][..], &[1, 1, 1, 1], &[3, 1], &[4]] {
        let one = gradients(micro_batches(sizes), Vec::new(), &config);
        let two = gradients(micro_batches(sizes), vec![worker(Device::flex().autodiff())], &config);
        let distance = distance(&two, &one);
        assert!(distance < 1e-6, "{sizes:?}: {distance:e}");
    }
}

#[test]
fn a_run_on_two_workers_follows_a_run_on_one() {
    let losses = |workers| {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = config_in(&dir);
        (config.steps.batch_size, config.steps.accumulation) = (1, 4);
        run(value(), workers, &config).1
    };
    let (one, two) = (losses(Vec::new()), losses(vec![worker(Device::flex().autodiff())]));
    assert!(farthest(&two, &one) < 1e-6, "{:e}", farthest(&two, &one));
}

#[test]
fn a_worker_that_cannot_load_its_bases_is_named() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config_in(&dir);
    let broken = Worker { device: Device::flex().autodiff(), bases: Box::new(|| Err("no file".to_owned())) };
    let workers = Workers::new(vec![base("base")], vec![broken], &config, 1);
    let learner = ValueLearner::new(value(), LearnerSettings::default());
    let error = workers.gradients(&learner, micro_batches(&[2, 2]), &[(0, 1.0)], 0).err().expect("fails");
    assert!(error.to_string().contains("no file"), "{error}");
}

#[test]
fn recomputed_activations_change_nothing() {
    let losses = |device: &Device, connection| {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = config_in(&dir);
        (config.base, config.value.connection) = (Some("base".to_owned()), connection);
        run(net("value", device), Vec::new(), &config).1
    };
    for connection in [Connection::Residual, Connection::Cascade, Connection::CascadeText] {
        let kept = losses(&Device::flex().autodiff(), connection);
        let recomputed = losses(&Device::flex().autodiff().gradient_checkpointing(), connection);
        // By other operations: see `ivl_models::transformer`.
        assert_eq!(recomputed.len(), kept.len());
        for (recomputed, kept) in recomputed.iter().zip(&kept) {
            assert!((recomputed - kept).abs() < 1e-5 * kept, "{connection:?}: {recomputed}, not {kept}");
        }
    }
}

#[test]
fn bf16_micro_batches_follow_f32_and_move_f32_masters() {
    let trained = |precision, learning_rate| {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = config_in(&dir);
        config.steps.precision = precision;
        config.optimizer.learning_rate = learning_rate;
        run(value(), Vec::new(), &config)
    };
    let usual = {
        let dir = tempfile::tempdir().expect("dir");
        config_in(&dir).optimizer.learning_rate
    };
    let (f32s, bf16s) = (trained(Precision::F32, usual).1, trained(Precision::Bf16, usual).1);
    let far = farthest(&f32s, &bf16s);
    // bf16 has 8 bits of significand: a relative rounding error of 2^-9 at every step of the computation.
    assert!(far > 0.0 && far < 0.05 * f32s[0], "{far}: {f32s:?} {bf16s:?}");
    assert!(bf16s[9] < bf16s[0] - 0.1);
    // Steps far below the rounding error of bf16 (2^-9 of a weight) still move the weights: the masters are f32.
    let before = weights(&value());
    let (moved, _) = trained(Precision::Bf16, Some(1e-6));
    assert!(moved.value.named_parameters().iter().all(|p| p.tensor.dtype() == DType::F32));
    let after = weights(&moved.value);
    let pairs = before.iter().flatten().zip(after.iter().flatten());
    let (changed, all) = pairs.fold((0, 0), |(n, all), (a, b)| (n + usize::from(a != b), all + 1));
    assert!(changed > all / 2, "{changed} of {all} weights moved");
}
