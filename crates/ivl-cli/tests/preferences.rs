//! `objective = "dpo"`, from pairs in a file to a value.

mod run;

use std::path::Path;

use run::{base, fails, json, ok, text};
use serde_json::{Value, json as value};

/// Pairs of the right answer and that of the next question.
fn pairs(dir: &Path, name: &str) -> String {
    let rows = std::fs::read_to_string(base(name)).expect("reads");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let pair = |(row, other): (&Value, &Value)| {
        (row["completion"] != other["completion"]).then(|| {
            let [chosen, rejected] = [row, other].map(|row| row["completion"].clone());
            value!({ "prompt": row["prompt"], "chosen": chosen, "rejected": rejected }).to_string() + "\n"
        })
    };
    let next = rows.iter().cycle().skip(1);
    let lines: String = rows.iter().zip(next).filter_map(pair).collect();
    let path = dir.join(name);
    std::fs::write(&path, lines).expect("writes");
    text(&path)
}

fn config(dir: &Path) -> String {
    let path = dir.join("dpo.toml");
    let config = format!(
        "output = {:?}\nobjective = \"dpo\"\nbase = {:?}\n[data]\ntrain = [{:?}]\neval = [{:?}]\n[optimizer]\nlearning_rate = \
         1e-3\n[steps]\nepochs = 2\nbatch_size = 8\n",
        text(&dir.join("value")),
        base("small"),
        pairs(dir, "train.jsonl"),
        pairs(dir, "held-out.jsonl"),
    );
    std::fs::write(&path, config).expect("writes");
    text(&path)
}

#[test]
fn preferences_are_previewed_trained_and_resumed() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let page = ok(&["data", "preview", &config, "-n", "1"]);
    for part in [
        "preference, chosen: ",
        "preference, rejected: ",
        "Answer:⟦ Paris.</s>⟧",
        "Answer:⟦ plums.</s>⟧",
        " pairs, ",
    ] {
        assert!(page.contains(part), "`{part}` is not in: {page}");
    }
    let train = |more: &[&str]| json(&[&["train", &config, "--json"], more].concat());
    let result = train(&[]);
    let eval = &result["evals"][0];
    let figure = |name: &str| eval[name].as_f64().expect("a figure");
    assert!((figure("base_loss") - 2f64.ln()).abs() < 1e-6, "{eval}");
    assert!(figure("loss") < 0.5 && figure("accuracy") > 0.8 && figure("margin") > 0.5, "{eval}");
    let metrics = std::fs::read_to_string(dir.path().join("value/metrics.jsonl")).expect("reads");
    let steps: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(steps.iter().filter(|line| line["kind"] == "step").all(|step| step["accuracy"].is_f64()));

    let set = format!("output={}", text(&dir.path().join("resumed")));
    let result = train(&["--set", &set, "--set", "checkpoint.every=9"]);
    let last = format!("resumed/checkpoints/step-{}", result["steps"]);
    std::fs::remove_file(dir.path().join("resumed/config.json")).expect("removes");
    std::fs::remove_dir_all(dir.path().join(last)).expect("removes");
    train(&["--set", &set, "--set", "checkpoint.every=9", "--resume"]);
    let bytes =
        |output: &str| std::fs::read(dir.path().join(output).join("model.safetensors")).expect("reads");
    assert!(bytes("value") == bytes("resumed"));
}

#[test]
fn data_of_another_objective_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());

    let demonstrations = format!("data.train=[{:?}]", base("train.jsonl"));
    fails(
        &["train", &config, "--set", &demonstrations],
        &["which are no pair of answers; expected `chosen` and `rejected`"],
    );
    let plain = std::fs::read_to_string(&config).expect("reads").replace("objective = \"dpo\"\n", "");
    std::fs::write(&config, plain).expect("writes");
    fails(
        &["train", &config],
        &["of the format preference", "only `objective = \"dpo\"` trains on pairs of answers"],
    );
    fails(&["train", &config, "--set", "objective=dpoo"], &["objective", "dpoo"]);
}
