//! `ivl serve` as a process: it says where it is, answers, ends in order, and refuses what cannot be meant.

#![cfg(unix)]

mod run;

use std::process::Command;

use run::server::Running;
use run::{base, fails, ok, text, train_config};
use serde_json::{Value, json};

#[test]
fn a_server_says_where_it_is_answers_and_ends_on_sigterm() {
    let (large, small) = (base("large"), format!("plain={}:0.5", base("small")));
    let mut server = Running::new(&["--base", &large, "--value", &small]);
    assert_eq!(server.said["models"], json!(["large", "plain"]));
    let answer = server.ask("GET", "/v1/models/plain", "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"alpha\":0.5"), "{answer}");
    assert!(!answer.contains("examples"), "no path in an answer");
    let kill = Command::new("kill").arg(server.process.id().to_string()).status().expect("kill");
    assert!(kill.success() && server.process.wait().expect("ends").success());
}

#[test]
fn it_answers_and_explains_as_the_other_commands_do() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.0");
    ok(&["train", &config, "--quiet", "--set", "value.connection=cascade-text"]);
    let (large, small, cascade) = (base("large"), base("small"), text(&dir.path().join("value")));
    let server = Running::new(&["--base", &large, "--value", &cascade, "--value", &small]);
    assert_eq!(server.said["models"], json!(["large", "value", "small"]));
    let (half, more) = (format!("{cascade}:0.5"), format!("{small}:-0.75"));
    let weighed = ["--base", &large, "--value", &half, "--value", &more, "--json"];
    let ivl = json!({"values": [{"id": "value", "alpha": 0.5}, {"id": "small", "alpha": -0.75}]});

    let prompt = "Question: Where does Suna live?\nAnswer:";
    let options = ["generate", "--prompt", prompt, "--max-new-tokens", "12", "--ignore-eos"];
    let generated = run::json(&[options.as_slice(), &weighed].concat());
    let completed = server.post(
        "/v1/completions",
        &json!({"prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": true, "ivl": ivl}),
    );
    assert_eq!(completed["choices"][0]["text"], generated["text"]);

    let given = "Suna lives in Oslo. \u{2603}";
    let offline = run::json(&[["explain", "--text", given].as_slice(), &weighed].concat());
    let served = server.post("/v1/explain", &json!({"prompt": given, "ivl": ivl}));
    for what in ["values", "tokens"] {
        assert_alike(&served[what], &offline[what], what);
    }
    assert_eq!(served["tokens"][1]["conflicts"][0]["values"], json!(["value", "small"]));
}

/// Equal, but for the rounding of numbers.
#[track_caller]
fn assert_alike(a: &Value, b: &Value, what: &str) {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (x.as_f64().expect("a number"), y.as_f64().expect("a number"));
            assert!((x - y).abs() <= 1e-4 * (1.0 + x.abs()), "{what}: {x} and {y}");
        }
        (Value::Array(x), Value::Array(y)) => {
            assert_eq!(x.len(), y.len(), "{what}");
            x.iter().zip(y).for_each(|(x, y)| assert_alike(x, y, what));
        }
        (Value::Object(x), Value::Object(y)) => {
            assert!(x.keys().eq(y.keys()), "{what}: {a} and {b}");
            x.iter().zip(y.values()).for_each(|((key, x), y)| assert_alike(x, y, key));
        }
        _ => assert_eq!(a, b, "{what}"),
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (large, small) = (base("large"), base("small"));
    let serve = |more: &[&str], parts: &[&str]| {
        let mut args = vec!["serve", "--base", &large, "--port", "0"];
        args.extend(more);
        fails(&args, parts);
    };
    serve(&["--host", "0.0.0.0"], &["--api-key", "--open"]);
    serve(&["--max-rows", "0"], &["`max_rows` is 0"]);
    serve(&["--value", &format!("large={small}")], &["two models are called `large`", "NAME=VALUE"]);
    serve(&["--value", &format!("={small}")], &["expected a name before `=`"]);
    serve(&["--value", "nowhere/value"], &["nowhere/value"]);
}
