//! Value learning against PyTorch, on the fixture that `fixtures/make_fixtures.py` made.

mod fixture;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use burn::tensor::Device;
use fixture::{assert_close, base, config, examples, golden, gradients_of, names, net, value};
use ivl_core::{CausalLm, Vocab};
use ivl_models::{Transformer, TransformerLm};
use ivl_train::{
    BaseTarget, Batch, Error, Event, Interrupter, LearnerSettings, MicroBatchGradients, Run, RunIdentity,
    ScheduleKind, StepReport, TrainConfig, Trained, ValueLearner, train,
};

fn run(resume: bool, interrupter: Interrupter) -> Run {
    let mut run = Run::new(vec![base("base")], value(), examples().into());
    run.eval = examples().into();
    run.identity = RunIdentity::default().with("base", "fixture");
    (run.resume, run.interrupter) = (resume, interrupter);
    run
}

fn train_all(run: Run, config: &TrainConfig) -> (Result<Trained, Error>, Vec<Event>) {
    let events = Rc::new(RefCell::new(Vec::new()));
    let sink = events.clone();
    let trained = train(run, config, move |event| sink.borrow_mut().push(event));
    (trained, events.take())
}

fn steps(events: &[Event]) -> Vec<StepReport> {
    events
        .iter()
        .filter_map(|event| if let Event::Step(step) = event { Some(step.clone()) } else { None })
        .collect()
}

#[test]
fn loss_and_gradients_of_a_batch_equal_pytorch() {
    let (golden, examples, base) = (golden("golden.safetensors"), examples(), base("base"));
    let regularization = config(Path::new("unused")).regularization;
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    // All positions through the head at once, and in pieces of unequal sizes.
    for head_rows in [0, 7, 1] {
        let settings =
            LearnerSettings { regularization: regularization.clone(), head_rows, ..Default::default() };
        let learner = ValueLearner::new(value(), settings);
        let target = BaseTarget::new(&base, 1.0, base.map.on(&learner.value.device()));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, vec![target], None).expect("in memory");
        let [loss, norm, ..] = losses.terms[0].read().map(|term| term / batch.targets.len() as f64);
        assert!((loss - golden["loss"][0]).abs() < 1e-4);
        assert!((norm - golden["norm"][0]).abs() < 1e-4);
        let gradients = gradients_of(&learner.value, &gradients);
        let names = names();
        assert_eq!(gradients.len(), names.len());
        for (ours, theirs, shape) in names {
            assert_close(&ours, &gradients[&ours], &golden[&format!("gradient.{theirs}")], shape, 1e-4);
        }
    }
}

#[test]
fn ten_steps_follow_pytorch() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let golden = golden("golden.safetensors");
    let (trained, events) = train_all(run(false, Interrupter::new()), &config(dir.path()));
    let trained = trained.expect("trains");
    let steps = steps(&events);
    assert_eq!((steps.len(), trained.steps), (10, 10));
    for (index, step) in steps.iter().enumerate() {
        let near = |what: &str, got: f64, expected: f64| {
            assert!(
                (got - expected).abs() < 1e-3 * expected.abs().max(1.0),
                "step {index}: {what} {got}, expected {expected}"
            );
        };
        near("loss", step.loss, golden["losses"][index]);
        near("norm", step.value_norm, golden["norms"][index]);
        near("gradient norm", step.gradient_norm, golden["gradient_norms"][index]);
    }
    for parameter in trained.value.named_parameters() {
        let (_, theirs, shape) =
            names().into_iter().find(|(ours, ..)| *ours == parameter.path).expect("known");
        let got: Vec<f32> = parameter.tensor.into_data().try_into_vec().expect("f32");
        assert_close(&parameter.path, &got, &golden[&format!("final.{theirs}")], shape, 1e-3);
    }
}

#[test]
fn the_base_gets_no_gradient_and_keeps_its_bytes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let base = TransformerLm::new(net("base", &Device::flex()), Vocab::new(vec![]), "base");
    let bytes = |net: &Transformer| -> Vec<Vec<u8>> {
        net.named_parameters().into_iter().map(|p| p.tensor.into_data().as_bytes().to_vec()).collect()
    };
    let before = bytes(base.net());
    assert!(!base.device().is_autodiff(), "the base computes without autodiff");
    let held = Rc::new(base);
    let mut frozen = self::base("base");
    frozen.source = ivl_train::BaseLogits::Lm(held.clone());
    let mut run = run(false, Interrupter::new());
    run.bases = vec![frozen];
    train_all(run, &config(dir.path())).0.expect("trains");
    assert_eq!(bytes(held.net()), before);
    // A gradient could only reach the base through a graph; its logits have none.
    let tokens = ivl_core::tokens::token_tensor(&[1, 2], 1, &held.device());
    let logits = held.forward(tokens, &mut held.new_cache(&[0])).expect("its own cache");
    assert!(!logits.is_autodiff());
}

#[test]
fn a_stopped_run_resumes_to_the_same_bytes() {
    let (whole, cut) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let bytes = |trained: &Trained| -> Vec<Vec<u8>> {
        trained
            .value
            .named_parameters()
            .into_iter()
            .map(|p| p.tensor.into_data().as_bytes().to_vec())
            .collect()
    };
    let (straight, straight_events) = train_all(run(false, Interrupter::new()), &config(whole.path()));

    let interrupter = Interrupter::new();
    let stop = interrupter.clone();
    let stopped = train(run(false, interrupter), &config(cut.path()), move |event| {
        if matches!(event, Event::Step(StepReport { step: 4, .. })) {
            stop.stop(Some("the test"));
        }
    })
    .expect("stops");
    assert_eq!((stopped.steps, stopped.interrupted), (4, true));

    let again = train_all(run(false, Interrupter::new()), &config(cut.path())).0;
    assert!(matches!(again, Err(Error::OutputExists { .. })), "a second run does not overwrite the first");
    let mut foreign = run(true, Interrupter::new());
    foreign.identity = RunIdentity::default().with("base", "another");
    let error = train_all(foreign, &config(cut.path())).0.expect_err("is foreign").to_string();
    assert!(error.contains("differs in `base` (fixture, now another); resume with what it had"), "{error}");
    let mut other_eval = run(true, Interrupter::new());
    other_eval.eval = examples()[..2].to_vec().into();
    let error = train_all(other_eval, &config(cut.path())).0.expect_err("is foreign").to_string();
    assert!(error.contains("differs in `tokens of data.eval`;"), "{error}");

    let (resumed, events) = train_all(run(true, Interrupter::new()), &config(cut.path()));
    assert!(matches!(events[0], Event::Start { done: 4, total: 10 }));
    let losses = |events: &[Event]| steps(events).iter().map(|step| step.loss).collect::<Vec<_>>();
    assert_eq!(losses(&events), losses(&straight_events)[4..]);
    assert_eq!(bytes(&resumed.expect("resumes")), bytes(&straight.expect("trains")));

    // A checkpoint without its last file is not complete: it is passed over.
    std::fs::remove_file(cut.path().join("checkpoints/step-10/complete.toml")).expect("removes");
    let (_, events) = train_all(run(true, Interrupter::new()), &config(cut.path()));
    assert!(matches!(events[0], Event::Start { done: 4, total: 10 }));
}

#[test]
fn a_finished_run_is_extended_by_more_epochs() {
    let (dir, whole) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let constant = |dir: &tempfile::TempDir, epochs| {
        let mut config = config(dir.path());
        // The rate of a step must not depend on how many follow.
        (config.optimizer.schedule, config.optimizer.warmup_ratio) = (ScheduleKind::Constant, 0.0);
        config.steps.epochs = epochs;
        config
    };
    let straight = train_all(run(false, Interrupter::new()), &constant(&whole, 6)).0.expect("trains");
    train_all(run(false, Interrupter::new()), &constant(&dir, 4)).0.expect("trains");
    let error = train_all(run(true, Interrupter::new()), &constant(&dir, 6)).0.expect_err("is foreign");
    assert!(error.to_string().contains("`steps.epochs` (4, now 6)"), "{error}");
    let mut longer = run(false, Interrupter::new());
    longer.extend = true;
    let (extended, events) = train_all(longer, &constant(&dir, 6));
    assert!(matches!(events[0], Event::Start { done: 4, total: 6 }));
    let bytes = |trained: &Trained| {
        let tensors = trained.value.named_parameters().into_iter();
        tensors.map(|p| p.tensor.into_data().as_bytes().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&extended.expect("trains")), bytes(&straight));
}

#[test]
fn training_lowers_the_loss_on_the_base_and_reports_it() {
    let dir = tempfile::tempdir().expect("dir");
    let (trained, events) = train_all(run(false, Interrupter::new()), &config(dir.path()));
    let evals: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Eval(eval) = event { Some(eval.clone()) } else { None })
        .collect();
    assert_eq!(evals.len(), 2, "before and after");
    assert!(evals[1].loss < evals[0].loss - 0.1);
    assert_eq!(evals[0].base_loss, evals[1].base_loss);
    assert_eq!(trained.expect("trains").evals, evals[1..]);
}

#[test]
fn no_base_trains_the_network_by_itself() {
    let dir = tempfile::tempdir().expect("dir");
    let mut run = run(false, Interrupter::new());
    run.bases.clear();
    let (trained, events) = train_all(run, &config(dir.path()));
    trained.expect("trains");
    let steps = steps(&events);
    assert!(steps[9].loss < steps[0].loss);
}

#[test]
fn a_diverging_run_says_so() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    (config.optimizer.learning_rate, config.optimizer.max_grad_norm) = (Some(1e30), 0.0);
    let error = train_all(run(false, Interrupter::new()), &config).0.expect_err("diverges");
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let left = std::fs::read_dir(dir.path().join("checkpoints")).expect("reads").count();
    assert_eq!(left, 0, "weights that diverged are no checkpoint");
}
