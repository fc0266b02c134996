//! Explanations, gates, and conversations with values.

mod run;

use std::io::Write;
use std::process::Stdio;

use run::{base, command, fails, json, ok, text, train_config};
use serde_json::Value;

const QUESTION: &str = "Question: Where does Suna live?\nAnswer:";

/// The bases of the example are each other's values: of one vocabulary, and they change a lot.
fn with_value(verb: &str, more: &[&str]) -> Value {
    let (large, small) = (base("large"), base("small"));
    let mut args = vec![verb, "--base", &large, "--value", &small, "--json"];
    args.extend(more);
    json(&args)
}

fn explained(more: &[&str]) -> Value {
    with_value("explain", more)
}

fn numbers<'a>(tokens: &'a Value, key: &'a str) -> impl Iterator<Item = Option<f64>> + 'a {
    tokens.as_array().expect("tokens").iter().map(move |token| token[key].as_f64())
}

#[test]
fn a_delta_is_the_difference_of_two_scores() {
    let text = "Suna lives in Oslo. ☃";
    let explained = explained(&["--text", text]);
    let large = base("large");
    let alone = json(&["score", "--base", &large, "--text", text, "--json"]);
    let with = with_value("score", &["--text", text]);
    let scores = |score: &Value| -> Vec<Option<f64>> {
        score["logprobs"].as_array().expect("logprobs").iter().map(Value::as_f64).collect()
    };
    let deltas: Vec<Option<f64>> = numbers(&explained["tokens"], "delta").collect();
    assert_eq!(deltas.len(), scores(&alone).len());
    let mut sum = 0.0;
    for ((delta, with), alone) in deltas.iter().zip(scores(&with)).zip(scores(&alone)) {
        assert_eq!(delta.is_some(), with.is_some());
        if let (Some(delta), Some(with), Some(alone)) = (delta, with, alone) {
            assert!((delta - (with - alone)).abs() < 1e-3, "{delta} {with} {alone}");
            sum += delta;
        }
    }
    let summary = &explained["summary"];
    let count = summary["tokens"].as_f64().expect("a count");
    assert!((summary["delta"].as_f64().expect("a mean") - sum / count).abs() < 1e-6);
    let flips =
        explained["tokens"].as_array().expect("tokens").iter().filter(|token| token["flip"] == true).count();
    assert!((summary["flip_rate"].as_f64().expect("a share") - flips as f64 / count).abs() < 1e-9);
}

#[test]
fn answers_and_demonstrations_are_explained_where_they_answer() {
    let answer = explained(&["--prompt", QUESTION, "--max-new-tokens", "5"]);
    let (large, small) = (base("large"), base("small"));
    let generated = with_value("generate", &["--prompt", QUESTION, "--max-new-tokens", "5"]);
    let given = generated["prompt_tokens"].as_u64().expect("a count") as usize;
    let tokens = answer["tokens"].as_array().expect("tokens");
    let ids: Vec<&Value> = tokens[given..].iter().map(|token| &token["id"]).collect();
    assert_eq!(ids, generated["ids"].as_array().expect("ids").iter().collect::<Vec<_>>());
    assert!(tokens[..given].iter().all(|token| token["delta"].is_null()));
    assert!(tokens[given..].iter().all(|token| token["rank_after"] == 0), "greedy takes the first");

    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("rows.jsonl");
    std::fs::write(&file, "{\"prompt\": \"Suna lives in\", \"completion\": \" Oslo.\"}\n".repeat(2))
        .expect("writes");
    let args = ["explain", "--base", &large, "--value", &small, "--file", &text(&file), "--json"];
    let lines: Vec<Value> = ok(&args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "two texts and the means");
    assert_eq!(lines[2]["summary"]["delta"], lines[0]["summary"]["delta"]);
    assert!(lines[1]["origin"].as_str().expect("a place").starts_with("line 2 of "));
    assert!(lines[0]["tokens"][1]["delta"].is_null(), "the prompt is given");
}

#[test]
fn several_values_have_parts_and_conflicts() {
    let (large, small) = (base("large"), base("small"));
    let (half, against) = (format!("{small}:0.5"), format!("{small}:-1"));
    let args = [
        "explain",
        "--base",
        &large,
        "--value",
        &half,
        "--value",
        &against,
        "--text",
        "Suna lives",
        "--json",
    ];
    let explained = json(&args);
    let names: Vec<&Value> =
        explained["values"].as_array().expect("values").iter().map(|v| &v["name"]).collect();
    assert_eq!(names, ["small", "small#2"]);
    for token in &explained["tokens"].as_array().expect("tokens")[1..] {
        // One value pulls against itself.
        let cosine = token["conflicts"][0]["cosine"].as_f64().expect("both speak");
        assert!((cosine + 1.0).abs() < 1e-3, "{cosine}");
        assert_eq!(token["values"].as_array().map(Vec::len), Some(2));
    }
    assert!(explained["summary"]["conflicts"][0]["choices_differ"].is_number());
}

#[test]
fn a_page_stands_for_itself_and_a_pipe_gets_a_table() {
    let dir = tempfile::tempdir().expect("dir");
    let page = dir.path().join("page.html");
    let (large, small) = (base("large"), base("small"));
    let explain = ["explain", "--base", &large, "--value", &small, "--text", "<i>Suna</i> lives in Oslo."];
    let mut args = explain.to_vec();
    let path = text(&page);
    args.extend(["--html", &path]);
    assert!(ok(&args).contains("nats each with the values"));
    let html = std::fs::read_to_string(&page).expect("written");
    assert!(html.starts_with("<!DOCTYPE html>") && !html.contains("<i>") && html.contains("class=\"heat\""));
    assert!(!html.contains("://"), "it loads nothing");

    let table = ok(&explain);
    assert!(!table.contains('\x1b') && table.contains("base's first"));
    let mut args = explain.to_vec();
    args.extend(["--color", "always"]);
    assert!(ok(&args).contains("\x1b["));
    let output = command(&args).env("NO_COLOR", "1").output().expect("starts");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\x1b["), "what is asked for wins");
}

#[test]
fn gates_save_passes_and_are_measured_before() {
    let large = base("large");
    let generate = |gate: &str| {
        let more = ["--prompt", QUESTION, "--max-new-tokens", "8", "--ignore-eos", "--gate", gate];
        with_value("generate", &more)
    };
    let always = generate("entropy>-1");
    assert_eq!(always["gate"]["skipped"], 0);
    assert_eq!(always["gate"]["value_passes"], always["gate"]["base_passes"]);
    let first = generate("first=3");
    assert_eq!((&first["gate"]["consulted"], &first["gate"]["skipped"]), (&3.into(), &5.into()));
    assert_eq!(first["ids"].as_array().expect("ids")[..3], always["ids"].as_array().expect("ids")[..3]);
    let never = generate("margin<0");
    let args = [
        "generate",
        "--base",
        &large,
        "--prompt",
        QUESTION,
        "--max-new-tokens",
        "8",
        "--ignore-eos",
        "--json",
    ];
    assert_eq!((&never["ids"], &never["gate"]["value_passes"]), (&json(&args)["ids"], &0.into()));

    let curve = explained(&["--text", "Suna lives in Oslo. Suna works as a baker.", "--gate-curve"]);
    let last = curve["entropy"]["curve"].as_array().expect("points").last().expect("a point").clone();
    assert_eq!(last["skipped"], 1.0);
    let flips = curve["flip_rate"].as_f64().expect("a share");
    assert!((last["agreement"].as_f64().expect("a share") - (1.0 - flips)).abs() < 1e-9);
    let wrong = ["generate", "--base", &large, "--prompt", "x", "--gate", "entropy<1"];
    assert!(run::stderr(&command(&wrong).output().expect("starts")).contains("entropy>NATS"));
    fails(&["generate", "--base", &large, "--prompt", "x", "--gate", "first=1"], &["--value"]);
}

#[test]
fn cascade_values_are_explained_and_not_gated() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.0");
    ok(&["train", &config, "--quiet", "--set", "value.connection=cascade-text"]);
    let (large, value) = (base("large"), text(&dir.path().join("value")));
    let args = [
        "explain",
        "--base",
        &large,
        "--value",
        &value,
        "--value",
        &base("small"),
        "--text",
        "Suna lives",
        "--json",
    ];
    let explained = json(&args);
    assert_eq!(explained["tokens"][1]["values"].as_array().map(Vec::len), Some(2));
    let args = ["generate", "--base", &large, "--value", &value, "--prompt", "x", "--gate", "first=1"];
    fails(&args, &["is a cascade value", "needs residual values"]);
    fails(&["explain", "--base", &large, "--text", "x"], &["nothing to explain without a value"]);
    fails(&["explain", "--base", &large, "--value", &base("small"), "--text", ""], &["a text needs two"]);
}

/// Says some lines to a chat and returns standard output.
fn chat(more: &[&str], lines: &str) -> String {
    let (large, small) = (base("large"), base("small"));
    let mut args = vec!["chat", "--base", &large, "--value", &small, "--max-new-tokens", "6"];
    args.extend(more);
    let mut child = command(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", run::stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_conversation_goes_on_from_what_was_read() {
    let question = QUESTION.replace('\n', "\\\n");
    let lines = chat(
        &["--plain", "--json"],
        &format!("{question}\n{question}\n/undo\n/alpha 0\n{question}\n/retry\n"),
    );
    let turns: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let large = base("large");
    let generated = with_value("generate", &["--prompt", QUESTION, "--max-new-tokens", "6"]);
    assert_eq!((&turns[0]["ids"], &turns[0]["cached_tokens"]), (&generated["ids"], &0.into()));
    // Of the second prompt, all of the first was read, and most of its answer.
    assert!(turns[1]["cached_tokens"].as_u64() >= turns[0]["prompt_tokens"].as_u64(), "{lines}");
    assert!(turns[1]["prompt_tokens"].as_u64() > turns[0]["prompt_tokens"].as_u64());
    // Taken back and asked again at weight 0, it is the base that answers; all but the last token is known.
    assert_eq!(turns[2]["prompt_tokens"], turns[1]["prompt_tokens"]);
    assert_eq!(turns[2]["cached_tokens"].as_u64(), turns[1]["prompt_tokens"].as_u64().map(|count| count - 1));
    let text = format!("{QUESTION}{}\n{QUESTION}", turns[0]["text"].as_str().expect("text"));
    let args = ["generate", "--base", &large, "--prompt", &text, "--max-new-tokens", "6", "--json"];
    assert_eq!(turns[2]["ids"], json(&args)["ids"]);
    assert_eq!(turns[3]["ids"], turns[2]["ids"], "greedy answers do not change");
}

#[test]
fn a_conversation_is_rendered_by_the_template_and_explained() {
    let dir = run::copy_of("large");
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    std::fs::write(dir.path().join("chat_template.jinja"), template).expect("writes");
    let large = text(dir.path());
    let small = base("small");
    let mut child = command(&[
        "chat",
        "--base",
        &large,
        "--value",
        &small,
        "--max-new-tokens",
        "3",
        "--system",
        "Be brief.",
        "--json",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .expect("starts");
    child.stdin.take().expect("a pipe").write_all(b"Hello\n/explain\n/exit\nnever read\n").expect("writes");
    let output = child.wait_with_output().expect("ends");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    let tokens = lines[1]["tokens"].as_array().expect("tokens");
    let written: String = tokens.iter().filter_map(|token| token["token"].as_str()).collect();
    assert!(written.starts_with("system: Be brief.\nuser: Hello\nassistant:"), "{written}");
    assert_eq!(numbers(&lines[1]["tokens"], "delta").flatten().count(), 3);

    let args = ["chat", "--base", &base("large"), "--value", &small];
    fails(&args, &["--plain", "chat template"]);
    assert!(ok(&["chat", "--help"]).contains("Example:") && ok(&["explain", "--help"]).contains("Example:"));
}
