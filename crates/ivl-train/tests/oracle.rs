//! Value learning against PyTorch, on the fixture that `fixtures/make_fixtures.py` made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use ivl_core::{CausalLm, Token, Vocab};
use ivl_models::{Checkpoint, Transformer, TransformerLm};
use ivl_train::{
    Batch, Error, Event, Example, Interrupter, Run, StepReport, TrainConfig, Trained, ValueLearner, train,
};
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden() -> HashMap<String, Vec<f64>> {
    let bytes = std::fs::read(fixtures().join("golden.safetensors")).expect("golden");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let numbers = |view: safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::I64 => {
            view.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as f64).collect()
        }
        _ => view
            .data()
            .chunks(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four"))))
            .collect(),
    };
    file.iter().map(|(name, view)| (name.to_owned(), numbers(view))).collect()
}

fn examples() -> Vec<Example> {
    let golden = golden();
    let rows = golden["ids"].chunks(14).zip(golden["learnt"].chunks(14));
    let example = |(ids, learnt): (&[f64], &[f64])| {
        let len = learnt.iter().rposition(|&l| l == 1.0).expect("learnt") + 1;
        Example {
            ids: ids[..len].iter().map(|&id| id as u32).collect(),
            learnt: learnt[..len].iter().map(|&l| l == 1.0).collect(),
        }
    };
    rows.map(example).collect()
}

fn net(name: &str, device: &Device) -> Transformer {
    let checkpoint = Checkpoint::open(&fixtures().join(name)).expect("opens");
    checkpoint.load(device, DType::F32, &mut |_| ()).expect("loads")
}

fn base() -> Rc<dyn CausalLm> {
    let vocab = Vocab::new((0..48u8).map(|id| Some(Token::text([id]))).collect());
    Rc::new(TransformerLm::new(net("base", &Device::flex()), vocab, "base"))
}

fn value() -> Transformer {
    net("value", &Device::flex().autodiff())
}

fn config(output: &Path) -> TrainConfig {
    let settings = std::fs::read_to_string(fixtures().join("settings.json")).expect("settings");
    let settings: HashMap<String, f64> = serde_json::from_str(&settings).expect("json");
    let mut config: TrainConfig = serde_json::from_value(serde_json::json!({
        "output": output,
        "value": { "model": "value" },
        "data": { "train": ["unused"] },
        // Each step sees all four demonstrations, in two passes of unequal numbers of tokens.
        "steps": { "epochs": 10, "batch_size": 3, "accumulation": 2 },
    }))
    .expect("a configuration");
    let o = &mut config.optimizer;
    o.learning_rate = settings["learning_rate"];
    o.weight_decay = settings["weight_decay"];
    o.beta1 = settings["beta1"];
    o.beta2 = settings["beta2"];
    o.epsilon = settings["epsilon"];
    o.max_grad_norm = settings["max_grad_norm"];
    o.warmup_ratio = settings["warmup_ratio"];
    config.regularization.l1 = settings["l1"];
    config
}

fn run(resume: bool, interrupter: Interrupter) -> Run {
    Run {
        base: Some(base()),
        value: value(),
        map: None,
        train: examples(),
        eval: examples(),
        held_out: Vec::new(),
        fingerprint: "fixture".to_owned(),
        resume,
        interrupter,
    }
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

/// Parameters by the names that Hugging Face gives them, in its orientation.
struct Gradients<'a>(&'a GradientsParams, Vec<String>, HashMap<String, Vec<f32>>);

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.1.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.1.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.get::<D>(param.id).expect("every parameter of the value has a gradient");
        self.2.insert(self.1.join("."), gradient.into_data().try_into_vec().expect("f32"));
    }
}

/// Pairs of our path and the name in the fixture; the second is stored transposed where `true`.
fn names() -> Vec<(String, String, Option<[usize; 2]>)> {
    let mut names = vec![
        ("embedding.weight".to_owned(), "model.embed_tokens.weight".to_owned(), None),
        ("norm.weight".to_owned(), "model.norm.weight".to_owned(), None),
    ];
    for layer in 0..2 {
        let linear = [
            ("attention.query", "self_attn.q_proj", [16, 16]),
            ("attention.key", "self_attn.k_proj", [16, 16]),
            ("attention.value", "self_attn.v_proj", [16, 16]),
            ("attention.output", "self_attn.o_proj", [16, 16]),
            ("mlp.gate", "mlp.gate_proj", [16, 32]),
            ("mlp.up", "mlp.up_proj", [16, 32]),
            ("mlp.down", "mlp.down_proj", [32, 16]),
        ];
        let theirs = |name: &str| format!("model.layers.{layer}.{name}.weight");
        for (ours, name, shape) in linear {
            names.push((format!("blocks.{layer}.{ours}.weight"), theirs(name), Some(shape)));
        }
        names.push((format!("blocks.{layer}.attention_norm.weight"), theirs("input_layernorm"), None));
        names.push((format!("blocks.{layer}.mlp_norm.weight"), theirs("post_attention_layernorm"), None));
    }
    names
}

fn assert_close(what: &str, got: &[f32], expected: &[f64], shape: Option<[usize; 2]>, tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, &got) in got.iter().enumerate() {
        let at = shape.map_or(index, |[inputs, outputs]| index % outputs * inputs + index / outputs);
        let difference = (f64::from(got) - expected[at]).abs();
        assert!(difference <= tolerance, "{what}[{index}]: {got}, expected {}", expected[at]);
    }
}

#[test]
fn loss_and_gradients_of_a_batch_equal_pytorch() {
    let (golden, examples, base) = (golden(), examples(), base());
    let learner = ValueLearner::new(value(), config(Path::new("unused")).regularization.l1, None);
    let mut batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    batch.base = Some(batch.logits(&*base));
    let loss = learner.loss(&batch);
    let scalar =
        |tensor: &Tensor<1>| f64::from(tensor.clone().into_scalar::<f32>()) / batch.targets.len() as f64;
    assert!((scalar(&loss.cross_entropy) - golden["loss"][0]).abs() < 1e-4);
    assert!((scalar(&loss.norm) - golden["norm"][0]).abs() < 1e-4);

    let gradients = GradientsParams::from_grads(loss.objective.backward(), &learner.value);
    let mut visitor = Gradients(&gradients, Vec::new(), HashMap::new());
    learner.value.visit(&mut visitor);
    let names = names();
    assert_eq!(visitor.2.len(), names.len());
    for (ours, theirs, shape) in names {
        assert_close(&ours, &visitor.2[&ours], &golden[&format!("gradient.{theirs}")], shape, 1e-4);
    }
}

#[test]
fn ten_steps_follow_pytorch() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let golden = golden();
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
    let run = Run { base: Some(held.clone()), ..run(false, Interrupter::new()) };
    train_all(run, &config(dir.path())).0.expect("trains");
    assert_eq!(bytes(held.net()), before);
    // A gradient could only reach the base through a graph; its logits have none.
    let tokens = ivl_core::token_tensor(&[1, 2], 1, &held.device());
    assert!(!held.forward(tokens, &mut held.new_cache(&[0])).is_autodiff());
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
    let foreign = Run { fingerprint: "another".to_owned(), ..run(true, Interrupter::new()) };
    assert!(matches!(train_all(foreign, &config(cut.path())).0, Err(Error::ForeignCheckpoint { .. })));

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
fn passes_add_up_to_one_large_pass() {
    let losses = |batch_size, accumulation| {
        let dir = tempfile::tempdir().expect("dir");
        let mut config = config(dir.path());
        (config.steps.batch_size, config.steps.accumulation) = (batch_size, accumulation);
        let (trained, events) = train_all(run(false, Interrupter::new()), &config);
        trained.expect("trains");
        steps(&events).iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let whole = losses(4, 1);
    for pieces in [losses(1, 4), losses(2, 2), losses(3, 2)] {
        for (a, b) in whole.iter().zip(&pieces) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
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
    let (trained, events) =
        train_all(Run { base: None, ..run(false, Interrupter::new()) }, &config(dir.path()));
    trained.expect("trains");
    let steps = steps(&events);
    assert!(steps[9].loss < steps[0].loss);
}

#[test]
fn a_diverging_run_says_so() {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    (config.optimizer.learning_rate, config.optimizer.max_grad_norm) = (1e30, 0.0);
    let error = train_all(run(false, Interrupter::new()), &config).0.expect_err("diverges");
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}
