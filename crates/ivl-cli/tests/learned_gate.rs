//! `ivl gate` on the models of `examples/first-value`: a fitted gate goes to the card, and every verb applies it.

#![cfg(unix)]

mod run;

use std::path::Path;

use run::server::Running;
use run::{base, command, edit, fails, json, ok, repository, stderr, text, trained_value};
use serde_json::{Value, json};

const PROMPT: &str = "Question: Where does Suna live?\nAnswer:";

/// Mean loss of the answers in a file, in nats per token, and their number of tokens.
fn loss(base: &str, value: &str, file: &str) -> (f64, u64) {
    let printed = ok(&["score", "--base", base, "--value", value, "--file", file, "--json", "--quiet"]);
    let total: Value = serde_json::from_str(printed.lines().last().expect("a total")).expect("JSON");
    let total = &total["total"];
    (total["loss"].as_f64().expect("a loss"), total["tokens"].as_u64().expect("tokens"))
}

fn generated(base: &str, value: &str, more: &[&str]) -> String {
    let args = [
        "generate",
        "--base",
        base,
        "--value",
        value,
        "--prompt",
        PROMPT,
        "--ignore-eos",
        "--json",
        "--quiet",
    ];
    let out = json(&[&args[..], &["--max-new-tokens", "16", "--temperature", "0"], more].concat());
    out["text"].as_str().expect("a text").to_owned()
}

/// The completion of a server with this value.
fn served(base: &str, value: &str) -> String {
    let server = Running::new(&["--base", base, "--value", value, "--quiet"]);
    let request =
        json!({"model": "value", "prompt": PROMPT, "max_tokens": 16, "temperature": 0, "ignore_eos": true});
    let answer = server.post("/v1/completions", &request);
    answer["choices"][0]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn a_gate_is_fitted_applied_by_every_verb_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let value = trained_value(dir.path(), "value", "42", &[]);
    let (small, large, data) = (base("small"), base("large"), base("held-out.jsonl"));
    let (plain, tokens) = loss(&small, &value, &data);
    let plain_away = loss(&large, &value, &data).0;

    let fit = ["gate", "--base", &small, "--value", &value, "--data", &data, "--json", "--quiet", "--force"];
    let report = json(&fit);
    let gate = &report["gate"];
    assert_eq!(report["written"], true);
    assert_eq!(json(&["inspect", &value, "--json"])["card"]["gate"], *gate);
    let figure = |rows: &str, what: &str| gate[rows][what].as_f64().expect("a figure");
    assert_eq!((figure("fitted", "rows"), figure("held_out", "rows")), (60.0, 20.0));
    let best = figure("held_out", "ungated").min(figure("held_out", "constant"));
    assert_eq!(report["helps"], figure("held_out", "gated") < best);
    assert!(figure("fitted", "gated") < figure("fitted", "ungated"), "{gate}");
    // The figures of the fit are those of `score`, before and with the gate.
    let over_all = |what: &str| {
        let sum = |rows: &str| figure(rows, what) * figure(rows, "tokens");
        assert_eq!(figure("fitted", "tokens") + figure("held_out", "tokens"), tokens as f64);
        (sum("fitted") + sum("held_out")) / tokens as f64
    };
    let gated = loss(&small, &value, &data).0;
    assert!((over_all("ungated") - plain).abs() < 1e-4, "{} {plain}", over_all("ungated"));
    assert!((over_all("gated") - gated).abs() < 1e-4, "{} {gated}", over_all("gated"));
    assert!((gated - plain).abs() > 1e-3, "the gate does something");

    // The same gate on a base that it was not fitted on, decoded in every way.
    let away = loss(&large, &value, &data).0;
    assert!((away - plain_away).abs() > 1e-3, "{away}");
    let answer = generated(&large, &value, &[]);
    assert_eq!(generated(&large, &value, &["--draft", &small]), answer);
    assert_eq!(generated(&large, &value, &["--draft", "prompt-lookup"]), answer);
    assert_eq!(generated(&large, &value, &["--gate", "every=1"]), answer);
    assert_eq!(served(&large, &value), answer);
    let score = |value: &str| {
        let args = ["score", "--base", &large, "--value", value, "--text", "Suna lives in Oslo.", "--json"];
        json(&args)["logprobs"].clone()
    };
    let explained = json(&[
        "explain",
        "--base",
        &large,
        "--value",
        &value,
        "--text",
        "Suna lives in Oslo.",
        "--json",
        "--quiet",
    ]);
    let scored = score(&value);
    let logprob = |at: usize| scored[at].as_f64().expect("a number");
    let found = explained["tokens"][1]["logprob"].as_f64().expect("a number");
    assert!((found - logprob(1)).abs() < 1e-4, "{found} {}", logprob(1));
    let alone = json(&["score", "--base", &large, "--text", "Suna lives in Oslo.", "--json"]);
    assert_eq!(score(&format!("{value}:0")), alone["logprobs"], "weight 0 is the base");

    // Another vocabulary: a map works, bytes are refused.
    let other = text(&repository().join("crates/ivl-demo-models/models/other"));
    let mapped = ["score", "--base", &other, "--value", &value, "--text", "Suna lives in Oslo.", "--json"];
    let with_gate = json(&[&mapped[..], &["--map", "hybrid"]].concat())["logprobs"].clone();
    let refusal = ["a learned gate cannot multiply", "fused over bytes", "--remove"];
    fails(&[&mapped[..], &["--map", "hybrid", "--byte-fusion", &small]].concat(), &refusal);

    // A card whose gate cannot be applied, and a cascade value with one.
    let card = Path::new(&value).join("ivl.json");
    let kept = std::fs::read(&card).expect("reads");
    edit(&card, |card| card["gate"]["weights"]["mood"] = json!(1.0));
    fails(
        &["generate", "--base", &large, "--value", &value, "--prompt", "x"],
        &["`mood`", "take the gate out"],
    );
    assert!(ok(&["gate", "--value", &value, "--remove"]).contains("took the gate out"));
    std::fs::write(&card, &kept).expect("writes");
    edit(&card, |card| card["connection"] = json!("cascade"));
    fails(
        &["generate", "--base", &large, "--value", &value, "--prompt", "x"],
        &["a learned gate cannot multiply", "cascade value", "--remove"],
    );
    std::fs::write(&card, &kept).expect("writes");

    assert!(ok(&["gate", "--value", &value, "--remove"]).contains("took the gate out"));
    assert_eq!(loss(&small, &value, &data).0, plain);
    assert!(ok(&["gate", "--value", &value, "--remove"]).contains("has no gate"));
    let without_gate = json(&[&mapped[..], &["--map", "hybrid"]].concat())["logprobs"].clone();
    assert_ne!(with_gate, without_gate);
}

#[test]
fn a_gate_that_does_not_help_is_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let value = trained_value(dir.path(), "value", "42", &[]);
    let small = base("small");
    let data = text(&dir.path().join("rows.jsonl"));
    // Of the rows that are fitted the answers are wrong, of the others they are right.
    let held_out = [0, 6, 8, 15, 17, 20];
    let right = std::fs::read_to_string(base("train.jsonl")).expect("reads");
    let rows: Vec<String> = right
        .lines()
        .take(24)
        .enumerate()
        .map(|(row, line)| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            if !held_out.contains(&row) {
                line["completion"] = json!(" xqz vkj zzx qjw");
            }
            line.to_string()
        })
        .collect();
    std::fs::write(&data, rows.join("\n")).expect("writes");
    let card = Path::new(&value).join("ivl.json");
    let before = std::fs::read(&card).expect("reads");
    let args = ["gate", "--base", &small, "--value", &value, "--data", &data, "--penalty", "0"];
    let output = command(&args).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the gate is not the best on the rows that it was not fitted on"),
        "{}",
        stderr(&output)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("not fitted"), "the losses are shown");
    assert_eq!(std::fs::read(&card).expect("reads"), before);
    let forced = ok(&[&args[..], &["--force"]].concat());
    assert!(forced.contains("wrote the gate"), "{forced}");
    assert_ne!(std::fs::read(&card).expect("reads"), before);
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (small, data) = (base("small"), base("held-out.jsonl"));
    fails(
        &["gate", "--base", &small, "--value", &base("large"), "--data", &data],
        &["has no card", "ivl.json"],
    );
    let value = trained_value(dir.path(), "value", "42", &[]);
    let few = text(&dir.path().join("few.jsonl"));
    std::fs::write(&few, "{\"prompt\": \"Suna\", \"completion\": \" lives.\"}\n").expect("writes");
    let fit = |data: &str, more: &[&'static str]| {
        let args = ["gate", "--base", &small, "--value", &value, "--data", data].map(str::to_owned);
        args.into_iter().chain(more.iter().map(ToString::to_string)).collect::<Vec<String>>()
    };
    for (args, parts) in [
        (fit(&few, &[]), ["1 rows", "at least 4"]),
        (fit(&data, &["--penalty=-1"]), ["penalty is -1", "at least 0"]),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        fails(&args, &parts);
    }
    let zero = format!("{value}:0");
    fails(&["gate", "--base", &small, "--value", &zero, "--data", &data], &["weight of the value is 0"]);
    let connection = |card: &mut Value| card["connection"] = json!("cascade");
    edit(&Path::new(&value).join("ivl.json"), connection);
    fails(
        &["gate", "--base", &small, "--value", &value, "--data", &data],
        &["a learned gate cannot multiply", "cascade"],
    );
}
