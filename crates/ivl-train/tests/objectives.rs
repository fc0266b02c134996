//! Connections, penalties and several bases, each against PyTorch.

mod fixture;
use ivl_models::Connection;

use burn::tensor::{Device, Int, Tensor};
use fixture::{assert_close, base, examples, golden, gradients_of, names, penalties, value};
use ivl_train::{
    BaseTarget, Batch, FrozenBase, LearnerSettings, MicroBatchGradients, RegularizationConfig, ValueLearner,
    value_loss,
};

fn check(case: &str, connection: Connection, bases: &[(&str, f64)], regularization: &RegularizationConfig) {
    let (golden, examples) = (golden("objectives.safetensors"), examples());
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    let bases: Vec<(FrozenBase, f64)> = bases.iter().map(|&(name, weight)| (base(name), weight)).collect();
    // At once, and in pieces of unequal sizes.
    for head_rows in [0, 5] {
        let settings = LearnerSettings {
            connection,
            regularization: regularization.clone(),
            head_rows,
            ..Default::default()
        };
        let learner = ValueLearner::new(value(), settings);
        let device = learner.value.device();
        let targets = bases.iter().map(|(base, weight)| BaseTarget::new(base, *weight, base.map.on(&device)));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, targets.collect(), None).expect("in memory");
        let terms = losses.mean_terms().expect("bases").read().map(|sum| sum / batch.targets.len() as f64);
        let weights = [1.0, 1.0, regularization.l2, regularization.kl];
        for (index, (got, expected)) in terms.iter().zip(&golden[&format!("{case}.terms")]).enumerate() {
            // Terms that have no weight are not computed.
            let computed = weights[index] > 0.0;
            assert!(
                !computed || (got - expected).abs() < 1e-4,
                "{case} term {index}: {got}, expected {expected}"
            );
        }
        let gradients = gradients_of(&learner.value, &gradients);
        for (ours, theirs, shape) in names() {
            let expected = &golden[&format!("{case}.gradient.{theirs}")];
            assert_close(&format!("{case} {ours}"), &gradients[&ours], expected, shape, 1e-4);
        }
    }
}

#[test]
fn the_l2_penalty() {
    check("l2", Connection::Residual, &[("base", 1.0)], &penalties(0.0, 0.3, 0.0));
}

#[test]
fn the_divergence_from_the_base() {
    check("kl", Connection::Residual, &[("base", 1.0)], &penalties(0.0, 0.0, 0.4));
}

#[test]
fn several_bases_of_unequal_vocabularies_with_all_penalties() {
    let all = penalties(0.2, 0.1, 0.3);
    check("average", Connection::Residual, &[("base", 0.75), ("other", 0.25)], &all);
}

#[test]
fn the_cascade_reads_predictions() {
    check("cascade", Connection::Cascade, &[("base", 1.0)], &penalties(0.2, 0.0, 0.0));
}

#[test]
fn the_cascade_reads_text_and_predictions() {
    let kl = penalties(0.0, 0.0, 0.4);
    check("cascade_text", Connection::CascadeText, &[("base", 1.0)], &kl);
}

#[test]
fn a_cascade_against_several_bases_reads_each() {
    check(
        "cascade_average",
        Connection::Cascade,
        &[("base", 0.5), ("other", 0.5)],
        &penalties(0.0, 0.0, 0.0),
    );
}

/// On the CPU a kernel computes the loss. Under autodiff it is composed of the backend's operations, as on other devices.
#[test]
fn the_kernel_of_the_loss_agrees_with_the_backends_operations() {
    let (rows, vocab) = (7, 203);
    let some = |step: usize, scale: f32| -> Vec<f32> {
        let number = |index: usize| ((index * 7919 + step) % 2003) as f32 / 1001.0 - 1.0;
        (0..rows * vocab).map(|index| number(index) * scale).collect()
    };
    let weights = penalties(0.3, 0.2, 0.7);
    for with_base in [true, false] {
        let loss = |device: &Device| {
            let logits = |numbers: Vec<f32>| {
                Tensor::<1>::from_floats(numbers.as_slice(), device).reshape([rows, vocab])
            };
            let base = with_base.then(|| logits(some(1, 8.0)));
            let targets = Tensor::<1, Int>::from_ints([0, 202, 31, 64, 5, 100, 7], device);
            let loss = value_loss(base, logits(some(2, 2.0)), targets, &weights, 0.5);
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
        assert!(worst < 1e-6, "the gradient differs by {worst}");
    }
}
