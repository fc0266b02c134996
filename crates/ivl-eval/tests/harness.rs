//! Sample by sample what lm-evaluation-harness 0.4.13 computes on the same models and tasks (`harness/make_fixtures.py`):
//! likelihoods, which choice, perplexities, responses, and what is taken from them.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_eval::{EvalModel, Outcome, RunSettings, SampleAnswer, SampleLog, Task, evaluate, identity};
use ivl_models::{ChatTemplate, Checkpoint, Tokenizer, TransformerLm};
use serde_json::{Value, json};

/// Largest difference of a log-likelihood: f32 sums in another order.
const LOGLIKELIHOOD: f64 = 1e-4;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

struct Model {
    lm: TransformerLm,
    tokenizer: Tokenizer,
    end_tokens: Vec<u32>,
}

impl Model {
    fn open(name: &str) -> Self {
        let dir = here().join("../../examples/first-value").join(name);
        let checkpoint = Checkpoint::open(&dir).expect("opens");
        let (lm, tokenizer) = checkpoint.load_lm(&Device::flex(), DType::F32).expect("loads");
        let end_tokens = checkpoint.end_tokens(&tokenizer).expect("end tokens");
        Self { lm, tokenizer, end_tokens }
    }

    fn run(&self, task: &Task, settings: &RunSettings, log: Option<&mut SampleLog>) -> Outcome {
        let (tokenizer, end_tokens) = (&self.tokenizer, self.end_tokens.as_slice());
        let subject = EvalModel { lm: &self.lm, tokenizer, end_tokens, reads: &|_| true };
        evaluate(task, subject, settings, log, &mut |_, _| ()).expect("runs")
    }
}

fn open_task(name: &str) -> Task {
    let path = std::fs::read_dir(here().join("harness/tasks")).expect("tasks");
    let paths = path.map(|entry| entry.expect("an entry").path());
    let mut tasks = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    tasks.find_map(|path| Task::open(&path).ok().filter(|task| task.name() == name)).expect("the task")
}

fn runs() -> Vec<Value> {
    let text = std::fs::read_to_string(here().join("tests/fixtures/harness.json")).expect("reads");
    serde_json::from_str(&text).expect("JSON")
}

fn settings(run: &Value, batch_size: usize) -> RunSettings {
    let chat = here().join("harness/tasks/chat.jinja");
    let chat_template = run["chat"].as_bool().expect("a flag").then(|| {
        // The special tokens of a template stand beside it.
        let dir = tempfile::tempdir().expect("a directory");
        let model = here().join("../../examples/first-value").join(run["base"].as_str().expect("a name"));
        for (from, to) in [
            (chat.clone(), "chat_template.jinja"),
            (model.join("tokenizer_config.json"), "tokenizer_config.json"),
        ] {
            std::fs::copy(from, dir.path().join(to)).expect("copies");
        }
        ChatTemplate::from_dir(dir.path()).expect("reads").expect("a template")
    });
    let max_length = run["max_length"].as_u64().map(|length| length as usize);
    RunSettings { batch_size, max_length, chat_template, ..RunSettings::default() }
}

/// The answers of a run by row, from its log.
fn answers(model: &Model, task: &Task, settings: &RunSettings) -> (Outcome, Vec<Value>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("samples.jsonl");
    let mut log = SampleLog::open(&path, &identity(task, settings, 256)).expect("opens");
    let outcome = model.run(task, settings, Some(&mut log));
    let text = std::fs::read_to_string(&path).expect("reads");
    let mut samples: Vec<Value> =
        text.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    samples.sort_by_key(|sample| sample["doc_id"].as_u64());
    (outcome, samples)
}

#[test]
fn every_sample_and_figure_is_that_of_the_harness() {
    let mut compared = [0; 3];
    for run in runs() {
        let model = Model::open(run["base"].as_str().expect("a name"));
        let task = open_task(run["task"].as_str().expect("a name"));
        for batch_size in [1, 5] {
            let what =
                format!("{} {} {} in batches of {batch_size}", run["base"], run["task"], run["max_length"]);
            let (outcome, samples) = answers(&model, &task, &settings(&run, batch_size));
            let expected = run["samples"].as_array().expect("samples");
            assert_eq!(samples.len(), expected.len(), "{what}");
            for (sample, expected) in samples.iter().zip(expected) {
                compared[compare(sample, expected, &format!("{what}, row {}", sample["doc_id"]))] += 1;
            }
            compare_figures(&outcome, &run["results"], &what);
        }
    }
    assert!(compared.iter().all(|&count| count >= 10), "{compared:?}");
}

/// Compares a sample and says of which kind it is.
fn compare(sample: &Value, expected: &Value, what: &str) -> usize {
    let answer: SampleAnswer = serde_json::from_value(sample["answer"].clone()).expect("an answer");
    match answer {
        SampleAnswer::Choices(choices) => {
            let theirs = expected["choices"].as_array().expect("choices");
            assert_eq!(choices.len(), theirs.len(), "{what}");
            assert_eq!(sample["context"], expected["context"], "{what}");
            for (ours, theirs) in choices.iter().zip(theirs) {
                let sum = theirs[0].as_f64().expect("a number");
                assert!((ours.sum() - sum).abs() < LOGLIKELIHOOD, "{what}: {} and {sum}", ours.sum());
                assert_eq!(ours.is_greedy, theirs[1].as_bool().expect("a flag"), "{what}");
            }
            for (metric, score) in expected["scores"].as_object().expect("scores") {
                assert_eq!(sample[format!("{metric},none")], *score, "{what}: {metric}");
            }
            0
        }
        SampleAnswer::Text(text) => {
            let sum = expected["loglikelihood"].as_f64().expect("a number");
            assert!((text.sum() - sum).abs() < LOGLIKELIHOOD * 2.0, "{what}: {} and {sum}", text.sum());
            1
        }
        SampleAnswer::Response(response) => {
            assert_eq!(json!(response), expected["response"], "{what}");
            assert_eq!(sample["context"], expected["context"], "{what}");
            assert_eq!(sample["filtered"], expected["filtered"], "{what}");
            for (filter, score) in expected["scores"].as_object().expect("scores") {
                assert_eq!(sample[format!("exact_match,{filter}")], *score, "{what}: {filter}");
            }
            2
        }
    }
}

fn compare_figures(outcome: &Outcome, expected: &Value, what: &str) {
    let mut compared = 0;
    for figure in &outcome.figures {
        let key = |name: &str| format!("{name},{}", figure.filter);
        let Some(theirs) = expected[key(figure.metric)].as_f64() else { continue };
        assert!(
            (figure.value / theirs - 1.0).abs() < 1e-5 || figure.value == theirs,
            "{what}: {figure:?}, {theirs}"
        );
        compared += 1;
        if let Some(theirs) = expected[key(&format!("{}_stderr", figure.metric))].as_f64() {
            assert!(
                (figure.standard_error.expect("an error") - theirs).abs() < 1e-9,
                "{what}: {figure:?}, {theirs}"
            );
        }
    }
    assert!(compared >= 2, "{what}: {compared} figures");
}

#[test]
fn a_run_goes_on_from_its_log_and_computes_nothing_twice() {
    let model = Model::open("small");
    let task = open_task("choice");
    let settings = RunSettings { batch_size: 3, ..RunSettings::default() };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("samples.jsonl");
    let identity = identity(&task, &settings, 256);
    let whole = {
        let mut log = SampleLog::open(&path, &identity).expect("opens");
        model.run(&task, &settings, Some(&mut log))
    };
    assert_eq!((whole.samples, whole.logged), (task.rows.len(), 0));
    let text = std::fs::read_to_string(&path).expect("reads");
    // Half of the lines, and a part of one more.
    let cut: usize = text.lines().take(6).map(|line| line.len() + 1).sum();
    std::fs::write(&path, &text[..cut + 20]).expect("writes");
    let mut log = SampleLog::open(&path, &identity).expect("opens");
    let resumed = model.run(&task, &settings, Some(&mut log));
    assert_eq!(resumed.logged, 5);
    assert_eq!(format!("{:?}", resumed.figures), format!("{:?}", whole.figures));
    let mut log = SampleLog::open(&path, &identity).expect("opens");
    assert_eq!(model.run(&task, &settings, Some(&mut log)).logged, task.rows.len());
    // A log that says something else is believed: nothing was computed.
    let first = text.lines().nth(1).expect("a sample");
    let mut sample: Value = serde_json::from_str(first).expect("JSON");
    for choice in sample["answer"]["choices"].as_array_mut().expect("choices") {
        choice["logprobs"] = json!([-1.0]);
    }
    std::fs::write(&path, text.replace(first, &sample.to_string())).expect("writes");
    let mut log = SampleLog::open(&path, &identity).expect("opens");
    let believed = model.run(&task, &settings, Some(&mut log));
    assert_eq!(believed.logged, task.rows.len());
}
