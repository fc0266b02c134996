//! Preferences against TRL's `DPOTrainer`, and the way from pairs of answers in a file to micro-batches.

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use fixture::{assert_close, base, config, golden, gradients_of, names, net, value};
use ivl_train::{
    BaseTarget, Batch, Batching, Criterion, Dataset, Demonstration, DpoConfig, Error, Event, Example,
    Examples, LearnerSettings, MicroBatchGradients, ObjectiveKind, Plan, PreferenceLoss, Run, SourceConfig,
    StepsConfig, ValueLearner, train,
};

/// The pairs of the oracle.
fn pairs() -> Vec<[Example; 2]> {
    let golden = golden("dpo.safetensors");
    let width = golden["ids"].len() / 6;
    let example = |(ids, learnt): (&[f64], &[f64])| {
        let len = learnt.iter().rposition(|&l| l == 1.0).expect("learnt") + 1;
        Example {
            ids: ids[..len].iter().map(|&id| id as u32).collect(),
            loss_mask: learnt[..len].iter().map(|&l| l == 1.0).collect(),
        }
    };
    let examples: Vec<Example> =
        golden["ids"].chunks(width).zip(golden["learnt"].chunks(width)).map(example).collect();
    examples.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect()
}

fn dpo(loss: PreferenceLoss, beta: f64, label_smoothing: f64, length_normalized: bool) -> DpoConfig {
    let mut dpo = DpoConfig::default();
    (dpo.loss, dpo.beta) = (loss, beta);
    (dpo.label_smoothing, dpo.length_normalized) = (label_smoothing, length_normalized);
    dpo
}

/// The cases of the oracle.
fn cases() -> [(&'static str, DpoConfig); 4] {
    [
        ("sigmoid", dpo(PreferenceLoss::Sigmoid, 0.3, 0.0, false)),
        ("normalized", dpo(PreferenceLoss::Sigmoid, 2.0, 0.0, true)),
        ("ipo", dpo(PreferenceLoss::Ipo, 0.5, 0.0, false)),
        ("smoothed", dpo(PreferenceLoss::Sigmoid, 0.3, 0.2, false)),
    ]
}

#[test]
fn loss_rewards_and_gradients_equal_trl() {
    let (golden, base, pairs) = (golden("dpo.safetensors"), base("base"), pairs());
    let examples: Vec<&Example> = pairs.iter().flatten().collect();
    let batch = Batch::new(&examples);
    for (case, dpo) in cases() {
        // At once, and in pieces that divide answers.
        for head_rows in [0, 4] {
            let criterion = Criterion::Preference(dpo);
            let settings = LearnerSettings { criterion, head_rows, ..Default::default() };
            let learner = ValueLearner::new(value(), settings);
            let target = BaseTarget::new(&base, 1.0, base.map.on(&learner.value.device()));
            let MicroBatchGradients { gradients, losses } =
                learner.gradients(&batch, vec![target], None).expect("in memory");
            let found = losses.pairs[0];
            let mean = |sum: f64| sum / found.pairs as f64;
            let figures = [mean(found.loss), mean(found.correct as f64), mean(found.margin)];
            for (got, expected) in figures.into_iter().zip(&golden[&format!("{case}.figures")]) {
                assert!((got - expected).abs() < 2e-5, "{case}: {got}, expected {expected}");
            }
            let gradients = gradients_of(&learner.value, &gradients);
            for (ours, theirs, shape) in names() {
                let expected = &golden[&format!("{case}.gradient.{theirs}")];
                assert_close(&format!("{case} {ours}"), &gradients[&ours], expected, shape, 1e-4);
            }
        }
    }
}

/// The losses of ten steps, and the last held-out figures.
fn losses(change: impl FnOnce(&mut ivl_train::TrainConfig), device: &Device) -> (Vec<f64>, f64, f64, f64) {
    let dir = tempfile::tempdir().expect("dir");
    let mut config = config(dir.path());
    (config.objective, config.dpo) = (ObjectiveKind::Dpo, Some(cases()[0].1));
    (config.base, config.regularization.l1) = (Some("base".to_owned()), 0.0);
    change(&mut config);
    let mut run = Run::new(vec![base("base")], net("value", device), Examples::of_pairs(pairs()));
    run.eval = Examples::of_pairs(pairs());
    let mut losses = Vec::new();
    let trained = train(run, &config, |event| {
        if let Event::Step(step) = event {
            assert!(step.accuracy.is_some() && step.margin.is_some());
            losses.push(step.loss);
        }
    });
    let eval = trained.expect("trains").evals.remove(0);
    (losses, eval.loss, eval.accuracy.expect("pairs"), eval.margin.expect("pairs"))
}

#[test]
fn micro_batches_add_up_and_the_held_out_figures_improve() {
    let device = Device::flex().autodiff();
    let with = |batch_size, accumulation| {
        let change = move |config: &mut ivl_train::TrainConfig| {
            (config.steps.batch_size, config.steps.accumulation) = (batch_size, accumulation);
        };
        losses(change, &device)
    };
    let (whole, loss, accuracy, margin) = with(3, 1);
    assert_eq!(whole.len(), 10);
    for (batch_size, accumulation) in [(1, 3), (2, 2)] {
        let (parts, ..) = with(batch_size, accumulation);
        let farthest = whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(farthest < 1e-5, "{batch_size} x {accumulation}: {farthest:e}");
    }
    let [before, right, apart] = *golden("dpo.safetensors")["sigmoid.figures"].first_chunk().expect("three");
    assert!((whole[0] - before).abs() < 2e-5, "{} for {before}", whole[0]);
    assert!(loss < before && accuracy >= right && margin > apart, "{loss} {accuracy} {margin}");
}

#[test]
fn a_pair_is_never_split() {
    let pair = |len: usize| {
        let side = |len: usize| Example { ids: vec![1; len], loss_mask: vec![true; len] };
        [side(len), side(len + 1)]
    };
    let examples = Arc::new(Examples::of_pairs((2..25).map(pair).collect()));
    for batching in [Batching::Random, Batching::ByLength] {
        let mut config = config(Path::new("unused"));
        config.data.batching = batching;
        let mut steps = StepsConfig::default();
        (steps.epochs, steps.batch_size, steps.accumulation) = (2, 4, 2);
        let plan = Plan::training(examples.clone(), &steps, &config.data, 3);
        // 23 pairs make six micro-batches an epoch, and three steps.
        assert_eq!(plan.steps(), 6);
        let mut seen = BTreeSet::new();
        for batch in plan.batches() {
            let batch = batch.expect("in memory");
            for sides in batch.examples.chunks(2) {
                assert_eq!((sides[0] % 2, sides[0] + 1), (0, sides[1]));
                seen.insert(sides[0]);
            }
            assert!(batch.rows <= 8 && [16, 14].contains(&batch.step_examples));
        }
        assert_eq!(seen.len(), 23);
    }
}

fn rows(lines: &str) -> Result<Vec<Demonstration>, Error> {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("pairs.jsonl");
    std::fs::write(&path, lines).expect("writes");
    let dataset = Dataset::open_pairs(&[SourceConfig::new(&path)])?;
    dataset.sources[0].rows().map(|row| row.map(|row| row.demonstration)).collect()
}

/// The prompt and the answers of a row of texts.
fn texts(line: &str) -> [String; 3] {
    let Ok([Demonstration::Pair(sides)]) = <[_; 1]>::try_from(rows(line).expect("reads")) else {
        panic!("one pair")
    };
    let texts = sides.each_ref().map(|side| match side {
        Demonstration::Completion { prompt, completion } => (prompt.clone(), completion.clone()),
        other => panic!("{other:?}"),
    });
    let [(prompt, chosen), (same, rejected)] = texts;
    assert_eq!(prompt, same);
    [prompt, chosen, rejected]
}

/// The turns of the chosen and the rejected answer, and the number that is given.
fn turns(line: &str) -> [(Vec<String>, usize); 2] {
    let Ok([Demonstration::Pair(sides)]) = <[_; 1]>::try_from(rows(line).expect("reads")) else {
        panic!("one pair")
    };
    sides.each_ref().map(|side| match side {
        Demonstration::Conversation(conversation) => {
            let content = |message: &ivl_models::Message| message.content.as_str().expect("text").to_owned();
            (conversation.messages.iter().map(content).collect(), conversation.given)
        }
        other => panic!("{other:?}"),
    })
}

/// The examples of TRL's documentation of its preference formats.
#[test]
fn pairs_are_read_in_the_formats_of_trl() {
    let blue = ["The sky is", " blue.", " green."].map(str::to_owned);
    assert_eq!(texts(r#"{"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}"#), blue);
    assert_eq!(texts(r#"{"chosen": "The sky is blue.", "rejected": "The sky is green."}"#), blue);
    let (user, right, wrong) = (
        r#"{"role": "user", "content": "What color is the sky?"}"#,
        r#"{"role": "assistant", "content": "It is blue."}"#,
        r#"{"role": "assistant", "content": "It is green."}"#,
    );
    let side = |answer: &str| (vec!["What color is the sky?".to_owned(), answer.to_owned()], 1);
    let expected = [side("It is blue."), side("It is green.")];
    for line in [
        format!(r#"{{"prompt": [{user}], "chosen": [{right}], "rejected": [{wrong}]}}"#),
        format!(r#"{{"chosen": [{user}, {right}], "rejected": [{user}, {wrong}]}}"#),
        // UltraFeedback: the prompt once more as a text, and other fields beside the pair.
        format!(
            r#"{{"prompt": "What color is the sky?", "messages": [{user}, {right}], "score_chosen": 8,
                 "chosen": [{user}, {right}], "rejected": [{user}, {wrong}]}}"#
        )
        .replace('\n', " "),
        format!(r#"{{"prompt": "What color is the sky?", "chosen": [{right}], "rejected": [{wrong}]}}"#),
    ] {
        assert_eq!(turns(&line), expected, "{line}");
    }
}

#[test]
fn rows_that_are_no_pairs_are_refused() {
    let refused = |line: &str| rows(line).expect_err("refused").to_string();
    let check = |line: &str, expected: &str| {
        let found = refused(line);
        assert!(found.contains(expected), "{found}");
    };
    check(
        r#"{"prompt": "a", "completion": "b"}"#,
        "which are no pair of answers; expected `chosen` and `rejected`",
    );
    check(r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#, "the same answer in `chosen` and `rejected`");
    check(
        r#"{"chosen": "b", "rejected": [1]}"#,
        "a text in `chosen` and a list in `rejected`, expected both alike",
    );
    check(r#"{"chosen": "b", "rejected": 7}"#, "a number in `rejected`, expected a text");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("pairs.jsonl");
    std::fs::write(&path, r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#).expect("writes");
    let found = Dataset::open(&[SourceConfig::new(&path)]).expect_err("pairs").to_string();
    assert!(found.contains("only `objective = \"dpo\"` trains on pairs of answers"), "{found}");
}
