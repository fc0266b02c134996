//! `ivl bench` and `ivl parity`, on models small enough for a test.

mod run;

use run::{base, copy_of, fails, json, ok, text};
use serde_json::Value;

fn lines(args: &[&str]) -> Vec<Value> {
    ok(args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every measurement has a speed, a ceiling and memory.
#[test]
fn a_bench_measures_what_it_is_asked_for() {
    let (model, value) = (base("large"), base("small"));
    let short = ["--rows", "1,3", "--context", "8", "--tokens", "2", "--prompt", "16", "--rounds", "2"];
    let all = ["bench", &model, "--value", &value, "--measure", "fused,decode,prefill,score,train", "--json"];
    let found = lines(&[&all[..], &short].concat());
    let measures: Vec<_> = found
        .iter()
        .map(|row| (row["measure"].as_str().expect("a name"), row["rows"].as_u64().expect("rows")))
        .collect();
    let expected = [
        ("fused decode", 1),
        ("decode", 1),
        ("decode", 3),
        ("prefill", 1),
        ("score", 8),
        ("training step", 8),
    ];
    assert_eq!(measures, expected);
    for row in &found {
        for number in
            [&row["tokens_per_second"], &row["ceiling"]["tokens_per_second"], &row["share_of_ceiling"]]
        {
            assert!(number.as_f64().is_some_and(|number| number > 0.0 && number.is_finite()), "{row}");
        }
        assert_eq!(row["rounds"], 2);
        assert_eq!(row["dtype"], "f32");
    }
    let one = lines(&[&["bench", &model, "--measure", "prefill", "--json"][..], &short[2..]].concat());
    assert_eq!(one.len(), 1);
}

#[test]
fn a_bench_says_what_it_cannot_measure() {
    let model = base("small");
    fails(&["bench", &model, "--measure", "train"], &["--measure train", "add --value"]);
    fails(&["bench", &model, "--measure", "fused"], &["--measure fused", "add --value"]);
    fails(&["parity", &model, "--device", "cpu", "--dtype", "int8"], &["--dtype int8", "f32, f16 or bf16"]);
    fails(&["bench", &model, "--rows", "1,0"], &["--rows holds 0"]);
    fails(&["bench", &model, "--tokens", "0"], &["--tokens is 0", "at least 1"]);
    fails(&["bench", "no-such-shape"], &["no-such-shape", "24m, 134m, 1b, 7b"]);
}

/// Burn's operations on the CPU beside the kernels of the CPU: two ways to the same numbers.
#[test]
fn operations_and_kernels_are_on_a_par() {
    let models = [base("small"), base("large")];
    for (dtype, error) in [("f32", 1e-4), ("bf16", 1.0)] {
        let found = lines(&["parity", &models[0], &models[1], "--device", "cpu", "--dtype", dtype, "--json"]);
        assert_eq!(found.len(), 2);
        for line in found {
            assert_eq!(line["passed"], true, "{line}");
            assert_eq!(line["dtype"], dtype);
            assert_eq!(line["tokens"], 32);
            let difference = line["difference"].as_f64().expect("a number");
            assert!(difference > 0.0 && difference < error, "{line}");
        }
    }
}

/// A weight that is no number is no parity, whatever it is compared with.
#[test]
fn what_is_no_number_differs() {
    let model = copy_of("small");
    let path = model.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("reads");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let output = run::command(&["parity", &text(model.path()), "--device", "cpu"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        run::stderr(&output).contains("differs from the CPU on 1 of 1 models"),
        "{}",
        run::stderr(&output)
    );
}

/// How much memory a run held is in its summary.
#[test]
fn a_training_run_tells_its_memory() {
    let dir = tempfile::tempdir().expect("dir");
    let config = run::train_config(dir.path(), "");
    let summary = json(&["train", &config, "--json", "--quiet"]);
    let metrics = std::fs::read_to_string(dir.path().join("value/metrics.jsonl")).expect("metrics");
    let step = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let step = step.rev().find(|line| line["kind"] == "step").expect("a step");
    for memory in [&summary["memory"], &step["memory"]] {
        assert!(memory["device_mib"].is_null(), "tensors of a CPU are resident: {memory}");
        if cfg!(target_os = "linux") {
            assert!(memory["resident_mib"].as_f64().is_some_and(|mib| mib > 1.0), "{memory}");
        }
    }
}
