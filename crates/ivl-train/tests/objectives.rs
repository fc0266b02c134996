//! Connections, penalties and several bases, each against PyTorch.

mod fixture;

use fixture::{assert_close, base, examples, golden, gradients_of, names, value};
use ivl_train::{
    Against, Batch, Connection, FrozenBase, LearnerSettings, RegularizationConfig, ValueLearner,
};

fn none() -> RegularizationConfig {
    RegularizationConfig { l1: 0.0, ..Default::default() }
}

fn check(case: &str, connection: Connection, bases: &[(&str, f64)], regularization: &RegularizationConfig) {
    let (golden, examples) = (golden("objectives.safetensors"), examples());
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    let bases: Vec<(FrozenBase, f64)> = bases.iter().map(|&(name, weight)| (base(name), weight)).collect();
    // At once, and in pieces of unequal sizes.
    for head_rows in [0, 5] {
        let settings = LearnerSettings { connection, regularization: regularization.clone(), head_rows };
        let learner = ValueLearner::new(value(), settings);
        let positions = learner.base_positions(&batch);
        let against = bases.iter().map(|(base, weight)| Against {
            weight: *weight,
            logits: base.logits(&batch, &positions, ivl_train::Split::Train).expect("in memory"),
            projection: &base.projection,
            perturbation: None,
        });
        let pass = learner.pass(&batch, against.collect());
        let terms = pass.item.mean_terms().expect("bases").read().map(|sum| sum / batch.targets.len() as f64);
        let weights = [1.0, 1.0, regularization.l2, regularization.kl];
        for (index, (got, expected)) in terms.iter().zip(&golden[&format!("{case}.terms")]).enumerate() {
            // Terms that have no weight are not computed.
            let computed = weights[index] > 0.0;
            assert!(
                !computed || (got - expected).abs() < 1e-4,
                "{case} term {index}: {got}, expected {expected}"
            );
        }
        let gradients = gradients_of(&learner.value, &pass.grads);
        for (ours, theirs, shape) in names() {
            let expected = &golden[&format!("{case}.gradient.{theirs}")];
            assert_close(&format!("{case} {ours}"), &gradients[&ours], expected, shape, 1e-4);
        }
    }
}

#[test]
fn the_l2_penalty() {
    check("l2", Connection::Residual, &[("base", 1.0)], &RegularizationConfig { l2: 0.3, ..none() });
}

#[test]
fn the_divergence_from_the_base() {
    check("kl", Connection::Residual, &[("base", 1.0)], &RegularizationConfig { kl: 0.4, ..none() });
}

#[test]
fn several_bases_of_unequal_vocabularies_with_all_penalties() {
    let all = RegularizationConfig { l1: 0.2, l2: 0.1, kl: 0.3, ..none() };
    check("average", Connection::Residual, &[("base", 0.75), ("other", 0.25)], &all);
}

#[test]
fn the_cascade_reads_predictions() {
    check("cascade", Connection::Cascade, &[("base", 1.0)], &RegularizationConfig { l1: 0.2, ..none() });
}

#[test]
fn the_cascade_reads_text_and_predictions() {
    let kl = RegularizationConfig { kl: 0.4, ..none() };
    check("cascade_text", Connection::CascadeText, &[("base", 1.0)], &kl);
}

#[test]
fn a_cascade_against_several_bases_reads_each() {
    check("cascade_average", Connection::Cascade, &[("base", 0.5), ("other", 0.5)], &none());
}
