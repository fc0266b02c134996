//! `--adapter-difference`: the adapters of a fine-tuned model as a value, as in proxy tuning.

mod run;

use std::path::Path;

use run::{base, fails, json, ok, repository, text};
use serde_json::Value;

const TEXT: &str = "Question: What is the work of Mira?\nAnswer: Mira is a pilot.";

/// Fine-tunes adapters of `small` and returns their directory.
fn tuned(dir: &Path) -> String {
    let config = dir.join("tuned.toml");
    let output = text(&dir.join("tuned"));
    let toml = format!(
        "output = {output:?}\n[value]\nmodel = {:?}\n[value.lora]\n[data]\ntrain = [{:?}]\n[steps]\nepochs = 1\n\
         [optimizer]\nlearning_rate = 1e-2\n",
        base("small"),
        base("train.jsonl")
    );
    std::fs::write(&config, toml).expect("writes");
    ok(&["train", &text(&config), "--quiet"]);
    output
}

fn logprobs(args: &[&str]) -> Vec<f64> {
    let score = [&["score", "--text", TEXT, "--json", "--quiet"], args].concat();
    let logprobs = json(&score)["logprobs"].clone();
    logprobs.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-3, "{worst}");
}

#[test]
fn one_value_stands_for_the_two_of_proxy_tuning() {
    let dir = tempfile::tempdir().expect("a directory");
    let (tuned, small, large) = (tuned(dir.path()), base("small"), base("large"));
    let minus_small = format!("{small}:-1");
    let difference = ["--value", &tuned, "--adapter-difference"];
    let proxy = ["--value", &tuned, "--value", &minus_small];

    // On its own model it is the fine-tuned model.
    let own = logprobs(&[&["--base", &small], &difference[..]].concat());
    assert_close(&own, &logprobs(&["--base", &tuned]));
    let on_large = logprobs(&[&["--base", &large], &difference[..]].concat());
    let alone = logprobs(&["--base", &large]);
    assert!(on_large.iter().zip(&alone).any(|(a, b)| (a - b).abs() > 0.5), "the adapters do something");
    assert_close(&on_large, &logprobs(&[&["--base", &large], &proxy[..]].concat()));
    let weighted = format!("{tuned}:0.5");
    let halves = [&weighted, &format!("{small}:-0.5")];
    assert_close(
        &logprobs(&["--base", &large, "--value", &weighted, "--adapter-difference"]),
        &logprobs(&["--base", &large, "--value", halves[0], "--value", halves[1]]),
    );
    // Through a map too.
    let other = text(&repository().join("crates/ivl-demo-models/models/other"));
    let mapped = ["--base", &other, "--map", "hybrid"];
    assert_close(&logprobs(&[&mapped[..], &difference].concat()), &logprobs(&[&mapped[..], &proxy].concat()));

    // Decoded token by token, and with drafts.
    let generated = |args: &[&str]| {
        let fixed = ["generate", "--base", &large, "--prompt", "Question: Where does Suna live?\nAnswer:"];
        let more = ["--max-new-tokens", "16", "--temperature", "0", "--ignore-eos", "--json", "--quiet"];
        json(&[&fixed[..], &more, args].concat())["text"].as_str().expect("a text").to_owned()
    };
    let answer = generated(&proxy);
    assert_eq!(generated(&difference), answer);
    assert_eq!(generated(&[&difference[..], &["--draft", "prompt-lookup"]].concat()), answer);
    assert_eq!(generated(&[&difference[..], &["--draft", &small]].concat()), answer);

    // What is no fine-tuned model in the form of adapters.
    let score = ["score", "--text", "x", "--adapter-difference", "--base", &large];
    fails(&[&score[..], &["--value", &small]].concat(), &["holds no adapters", "SMALL:-1"]);
    fails(&score, &["--adapter-difference", "add one with --value"]);
    let value = text(&dir.path().join("value"));
    let as_value = format!("output={value}");
    let of_base = format!("base={small}");
    let config = text(&dir.path().join("tuned.toml"));
    ok(&[
        "train",
        &config,
        "--quiet",
        "--set",
        &as_value,
        "--set",
        &of_base,
        "--set",
        "value.initial_scale=1.0",
    ]);
    fails(&[&score[..], &["--value", &value]].concat(), &["was trained as a value"]);
}
