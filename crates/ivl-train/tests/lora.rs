//! Low-rank adapters: the only trained parameters, by the gradient of their definition; merging gives the same logits.

mod fixture;

use std::collections::HashMap;

use burn::tensor::Tensor;
use fixture::{base, config, examples, gradients_of, penalties, value};
use ivl_core::tokens::token_tensor;
use ivl_models::Transformer;
use ivl_models::transformer::LoraConfig;
use ivl_train::{
    BaseTarget, Batch, Event, Interrupter, LearnerSettings, MicroBatchGradients, MicroBatchLosses, Run,
    StepReport, ValueLearner, train,
};

fn lora() -> LoraConfig {
    LoraConfig::new(3)
}

fn parameters(net: &Transformer) -> HashMap<String, Vec<f32>> {
    let numbers = |tensor: Tensor<1>| tensor.into_data().try_into_vec().expect("f32");
    net.named_parameters().into_iter().map(|p| (p.path, numbers(p.tensor))).collect()
}

#[test]
fn adapters_follow_the_gradient_of_their_definition() {
    let (examples, base) = (examples(), base("base"));
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>());
    let gradients = |net: Transformer| {
        let regularization = penalties(0.0, 0.0, 0.0);
        let learner = ValueLearner::new(net, LearnerSettings { regularization, ..Default::default() });
        let target = BaseTarget::new(&base, 1.0, base.map.on(&learner.value.device()));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, vec![target], None).expect("in memory");
        (gradients_of(&learner.value, &gradients), losses)
    };
    let adapted = value().with_lora(&lora(), 1);
    let start = parameters(&adapted);
    let ((by_weight, before), (by_adapter, after)) = (gradients(value()), gradients(adapted));
    let loss = |losses: &MicroBatchLosses| losses.terms[0].read()[0];
    assert!((loss(&before) - loss(&after)).abs() < 1e-4, "adapters change nothing at first");
    assert_eq!(
        by_adapter.len(),
        2 * 7 * 2,
        "two matrices for each of seven projections in two blocks, nothing else"
    );

    // y = x (W + s A B) and B = 0: dL/dB = s A^T dL/dW, and dL/dA = s dL/dW B^T = 0.
    let (inputs, outputs, rank, scale) = (32, 16, 3, 2.0);
    let (down, by_weight) = (&start["blocks.1.mlp.down.lora.down"], &by_weight["blocks.1.mlp.down.weight"]);
    let by_up = &by_adapter["blocks.1.mlp.down.lora.up"];
    for (r, o) in (0..rank).flat_map(|r| (0..outputs).map(move |o| (r, o))) {
        let expected: f32 =
            (0..inputs).map(|i| scale * down[i * rank + r] * by_weight[i * outputs + o]).sum();
        assert!((by_up[r * outputs + o] - expected).abs() < 1e-5);
    }
    assert!(by_adapter["blocks.1.mlp.down.lora.down"].iter().all(|&gradient| gradient == 0.0));
}

#[test]
fn training_moves_the_adapters_alone_and_merging_keeps_the_function() {
    let dir = tempfile::tempdir().expect("dir");
    let start = parameters(&value());
    let mut run = Run::new(vec![base("base")], value().with_lora(&lora(), 1), examples().into());
    run.eval = examples().into();
    let trained = train(run, &config(dir.path()), |_| ()).expect("trains");
    let end = parameters(&trained.value);
    assert!(start.iter().all(|(path, numbers)| end[path] == *numbers), "the weights are frozen");
    assert!(end["blocks.0.attention.query.lora.up"].iter().any(|&number| number != 0.0));

    let logits = |net: &Transformer| -> Vec<f32> {
        let tokens = token_tensor(&[3, 9, 4, 40, 2], 1, &net.device());
        net.forward(tokens, &mut net.new_cache(&[0])).into_data().try_into_vec().expect("f32")
    };
    let merged = trained.value.clone().merged();
    assert_eq!(parameters(&merged).len(), start.len(), "no adapter is left");
    let worst =
        logits(&merged).iter().zip(logits(&trained.value)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn checkpoints_hold_the_adapters_only_and_resume_to_the_same_bytes() {
    let lora_config = |dir: &tempfile::TempDir| {
        let mut config = config(dir.path());
        config.value.lora = Some(lora());
        config
    };
    let new_run = || Run::new(vec![base("base")], value().with_lora(&lora(), 1), examples().into());
    let (whole, cut) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let straight = train(new_run(), &lora_config(&whole), |_| ()).expect("trains");

    let mut first = new_run();
    let stop = Interrupter::new();
    first.interrupter = stop.clone();
    let on_event = |event| {
        if matches!(event, Event::Step(StepReport { step: 4, .. })) {
            stop.stop(Some("the test"));
        }
    };
    train(first, &lora_config(&cut), on_event).expect("stops");
    let size = |name: &str| {
        let path = cut.path().join("checkpoints/step-4").join(name);
        std::fs::metadata(path).expect("a record").len()
    };
    let adapters: usize = parameters(&straight.value)
        .iter()
        .filter(|(path, _)| path.contains(".lora."))
        .map(|(_, numbers)| 4 * numbers.len())
        .sum();
    let frozen: usize = parameters(&value()).values().map(|numbers| 4 * numbers.len()).sum();
    // Beside the numbers a record has the names and shapes of its tensors.
    assert!(size("model.bpk") < (adapters + frozen / 2) as u64, "{}", size("model.bpk"));

    let mut second = new_run();
    second.resume = true;
    let resumed = train(second, &lora_config(&cut), |_| ()).expect("resumes");
    assert_eq!(resumed.steps, straight.steps);
    assert!(parameters(&resumed.value) == parameters(&straight.value), "the same adapters");
}
