//! `ivl data export`: its files hold what a run sees, and an export that fails leaves none.

mod run;

use std::path::Path;
use std::sync::Arc;

use ivl_train::{Batching, DataConfig, Example, Plan, SourceConfig, StepsConfig};
use run::{base, command, fails, json, ok, stderr, train_config};
use safetensors::SafeTensors;
use serde_json::Value;

const MAX_LENGTH: usize = 48;
/// Steps that end in the middle of the second epoch.
const STEPS: StepsShape = StepsShape { epochs: 3, max_steps: 40, batch_size: 3, accumulation: 2 };

struct StepsShape {
    epochs: usize,
    max_steps: usize,
    batch_size: usize,
    accumulation: usize,
}

impl StepsShape {
    fn settings(&self) -> Vec<String> {
        let Self { epochs, max_steps, batch_size, accumulation } = self;
        vec![
            format!("steps.epochs={epochs}"),
            format!("steps.max_steps={max_steps}"),
            format!("steps.batch_size={batch_size}"),
            format!("steps.accumulation={accumulation}"),
            format!("data.max_length={MAX_LENGTH}"),
        ]
    }

    fn config(&self) -> StepsConfig {
        let mut steps = StepsConfig::default();
        (steps.epochs, steps.max_steps) = (self.epochs, self.max_steps);
        (steps.batch_size, steps.accumulation) = (self.batch_size, self.accumulation);
        steps
    }
}

/// The numbers of one list in a file of an export.
fn numbers(path: &Path, name: &str) -> Vec<i64> {
    let bytes = std::fs::read(path).expect("reads");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let list = tensors.tensor(name).expect("the list");
    let size = list.data().len() / list.shape()[0].max(1);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_i64, |number, &byte| number << 8 | i64::from(byte));
    list.data().chunks_exact(size.max(1)).map(number).collect()
}

fn spans(offsets: &[i64]) -> impl Iterator<Item = std::ops::Range<usize>> {
    offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
}

/// The examples of a split, in order.
fn examples(export: &Path, description: &Value, split: &str) -> Vec<Example> {
    let mut found = Vec::new();
    for shard in description[split].as_array().expect("shards") {
        let file = export.join(shard["file"].as_str().expect("a name"));
        let (ids, mask) = (numbers(&file, "ids"), numbers(&file, "loss_mask"));
        found.extend(spans(&numbers(&file, "offsets")).map(|span| Example {
            ids: ids[span.clone()].iter().map(|&id| id as u32).collect(),
            loss_mask: mask[span].iter().map(|&trained| trained == 1).collect(),
        }));
    }
    found
}

/// The micro-batches of a run, each as rows of examples, and the micro-batches of each epoch.
fn order(export: &Path, description: &Value) -> (Vec<Vec<Vec<usize>>>, Vec<usize>) {
    let (mut found, mut epochs) = (Vec::new(), Vec::new());
    for epoch in description["order"].as_array().expect("epochs") {
        let file = export.join(epoch["file"].as_str().expect("a name"));
        let examples: Vec<usize> =
            numbers(&file, "examples").iter().map(|&example| example as usize).collect();
        let rows: Vec<Vec<usize>> =
            spans(&numbers(&file, "rows")).map(|span| examples[span].to_vec()).collect();
        let before = found.len();
        found.extend(spans(&numbers(&file, "micro_batches")).map(|span| rows[span].to_vec()));
        epochs.push(found.len() - before);
    }
    (found, epochs)
}

/// Exports a configuration into `export` beside it and reads the description.
fn export(dir: &Path, config: &str, settings: &[String]) -> Value {
    let out = dir.join("export").display().to_string();
    let mut args = vec!["data", "export", config, "--out", &out, "--force", "--device", "cpu"];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
    ok(&args);
    serde_json::from_slice(&std::fs::read(dir.join("export/export.json")).expect("reads")).expect("JSON")
}

#[test]
fn tokens_and_masks_are_those_of_the_preview() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let more = format!("[eval]\nevery = 2\n[base_logits]\ndir = {:?}\ntop_k = 4", dir.path().join("logits"));
    let config = train_config(dir.path(), &more);
    let settings = ["data.max_length=36".to_owned(), format!("data.eval={:?}", [base("held-out.jsonl")])];
    let description = export(dir.path(), &config, &settings);
    for (split, option) in [("train", None), ("eval", Some("--eval"))] {
        let mut args = vec!["data", "preview", &config, "-n", "1000", "--json"];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        args.extend(option);
        let text = ok(&args);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let shown: Vec<Example> = lines
            .iter()
            .filter(|line| line["ids"].is_array())
            .map(|line| {
                serde_json::from_value(line["ids"].clone()).map(|ids| (ids, &line["mask"])).expect("ids")
            })
            .map(|(ids, mask)| Example {
                ids,
                loss_mask: serde_json::from_value(mask.clone()).expect("mask"),
            })
            // The preview also shows rows that lost all that is trained.
            .filter(|example| example.trained_tokens() > 0)
            .collect();
        let exported = examples(&dir.path().join("export"), &description, split);
        assert!(exported.len() > 10, "{split}");
        assert!(exported == shown, "{split}: the preview shows other tokens or masks");
        let shards = description[split].as_array().expect("shards");
        let trained: u64 = shards.iter().map(|shard| shard["trained"].as_u64().expect("a number")).sum();
        assert_eq!(trained, exported.iter().map(|example| example.trained_tokens() as u64).sum::<u64>());
    }
    // Where `ivl train` would look for the base's logits, of both splits.
    let logits = description["base_logits"][0]["files"].as_array().expect("files");
    assert_eq!(logits.len(), 2);
    assert_ne!(logits[0][1], logits[1][1]);
}

#[test]
fn the_order_is_that_of_the_run() {
    for batching in [Batching::Random, Batching::ByLength, Batching::Packed] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = train_config(dir.path(), "");
        let settings = [STEPS.settings(), vec![format!("data.batching={}", batching.name())]].concat();
        let description = export(dir.path(), &config, &settings);
        let out = dir.path().join("export");
        let examples = examples(&out, &description, "train");
        let (order, epochs) = order(&out, &description);
        let mut data = DataConfig::new(vec![SourceConfig::new("unused")]);
        (data.batching, data.max_length) = (batching, MAX_LENGTH);
        let seed = description["config"]["seed"].as_u64().expect("a seed");
        let plan = Plan::training(Arc::new(examples.into()), &STEPS.config(), &data, seed);
        assert_eq!(description["steps"], plan.steps());
        let batches: Vec<_> = plan.batches().collect::<Result<_, _>>().expect("reads");
        let rows: Vec<Vec<usize>> =
            batches.iter().map(|batch| batch.segments.iter().map(Vec::len).collect()).collect();
        let exported: Vec<Vec<usize>> =
            order.iter().map(|rows| rows.iter().map(Vec::len).collect()).collect();
        assert!(exported == rows, "{batching:?}: rows");
        assert!(
            order.iter().map(|rows| rows.concat()).eq(batches.iter().map(|batch| batch.examples.clone())),
            "{batching:?}: examples"
        );
        // Steps do not reach over the end of an epoch.
        let ends: Vec<bool> = epochs
            .iter()
            .flat_map(|&count| (1..=count).map(move |at| at % STEPS.accumulation == 0 || at == count))
            .collect();
        assert!(ends.iter().zip(&batches).all(|(&end, batch)| end == batch.ends_step), "{batching:?}: steps");
    }
}

#[test]
fn a_run_trains_the_tokens_of_each_exported_step() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = train_config(dir.path(), "");
    // Sources of different weights: an epoch repeats rows of one and leaves out rows of the other.
    let source = |name: &str, weight: f64| format!("{{ path = {:?}, weight = {weight} }}", base(name));
    let sources = format!("data.train=[{}, {}]", source("train.jsonl", 0.1), source("held-out.jsonl", 1.5));
    let settings = [STEPS.settings(), vec![sources, "steps.max_steps=9".to_owned()]].concat();
    let description = export(dir.path(), &config, &settings);
    let out = dir.path().join("export");
    let (examples, (order, _)) = (examples(&out, &description, "train"), order(&out, &description));
    let trained = |rows: &Vec<Vec<usize>>| {
        rows.iter().flatten().map(|&index| examples[index].trained_tokens()).sum::<usize>()
    };
    let exported: Vec<usize> =
        order.chunks(STEPS.accumulation).map(|step| step.iter().map(trained).sum()).collect();
    let mut args = vec!["train", &config, "--json", "--device", "cpu"];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
    json(&args);
    let text = std::fs::read_to_string(dir.path().join("value/metrics.jsonl")).expect("reads");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let steps: Vec<Value> =
        lines.filter(|line| line["kind"] == "step").map(|line| line["tokens"].clone()).collect();
    assert_eq!(steps, exported);
}

#[test]
fn an_export_that_fails_leaves_none() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = train_config(dir.path(), "");
    let out = dir.path().join("export");
    let shown = out.display().to_string();
    let args = ["data", "export", &config, "--out", &shown, "--device", "cpu"];
    let with =
        |more: &[&str]| -> Vec<String> { args.iter().chain(more).map(|&arg| arg.to_owned()).collect() };
    let refused = |more: &[&str], parts: &[&str]| {
        let all = with(more);
        fails(&all.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    refused(&["--set", "objective=dpo"], &["`objective` is not cross-entropy"]);
    refused(&["--set", "data.trian=x"], &["unknown key `data.trian`"]);
    refused(&["--set", "base=missing"], &["`missing`"]);
    assert!(!out.join("export.json").exists());
    ok(&args);
    refused(&[], &["holds an export already; --force replaces it"]);
    // An export that was to be replaced is not whole any more.
    let rows = dir.path().join("rows.jsonl");
    std::fs::write(&rows, "{\"prompt\": 7}\n").expect("writes");
    refused(&["--force", "--set", &format!("data.train={:?}", [&rows])], &["rows.jsonl", "expected"]);
    assert!(!out.join("export.json").exists());
    std::fs::write(dir.path().join("file"), "").expect("writes");
    let inside = dir.path().join("file/export").display().to_string();
    let output =
        command(&["data", "export", &config, "--out", &inside, "--device", "cpu"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("file/export"), "{}", stderr(&output));
}
