//! `ivl eval`, run as a user would run it.

mod run;

use std::path::{Path, PathBuf};

use run::{base, command, fails, json, ok, repository, stderr};
use serde_json::Value;

fn example(name: &str) -> String {
    repository().join("examples/first-value").join(name).display().to_string()
}

/// A task of three questions in a folder of its own.
fn task(dir: &Path, more: &str) -> String {
    let rows = ["Nemas lives in", "Mira lives in", "Tato lives in"]
        .map(|prompt| format!("{{\"q\":\"{prompt}\",\"a\":\"Oslo\"}}\n"));
    std::fs::write(dir.join("rows.jsonl"), rows.concat()).expect("writes");
    write(dir, &format!("task = \"cities\"\ndata = \"rows.jsonl\"\ndoc_to_text = \"{{{{q}}}}\"\n{more}"))
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("task.toml");
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

const CHOICE: &str = "output_type = \"multiple_choice\"\ndoc_to_target = \"{{a}}\"\ndoc_to_choice = [\"Oslo\", \"Lima\", \"Cairo\"]\n";
const GENERATE: &str = "output_type = \"generate_until\"\ndoc_to_target = \"{{a}}\"\ngeneration_kwargs = { until = [\".\"], max_gen_toks = 4 }\n";

#[test]
fn the_examples_run_and_a_value_changes_their_figures() {
    let (large, small) = (base("large"), format!("{}:0.5", base("small")));
    let tasks = ["answers.toml", "choices.toml", "text.toml"].map(example);
    let mut args = vec!["eval", "--base", &large, "--limit", "8", "--json", "--tasks"];
    args.extend(tasks.iter().map(String::as_str));
    let alone = json(&args);
    for (task, metric) in [
        ("first-value-answers", "exact_match,sentence"),
        ("first-value-answers", "contains,sentence"),
        ("first-value-choices", "acc,none"),
        ("first-value-choices", "acc_norm,none"),
        ("first-value-text", "word_perplexity,none"),
        ("first-value-text", "token_perplexity,none"),
    ] {
        let (name, filter) = metric.split_once(',').expect("a filter");
        let results = &alone["results"][task];
        assert!(results[metric].is_number(), "{task} {metric}: {alone}");
        assert!(results[format!("{name}_stderr,{filter}")].is_number(), "{task} {metric}: {alone}");
    }
    assert_eq!(alone["n-samples"]["first-value-text"], serde_json::json!({ "original": 80, "effective": 8 }));
    args.extend(["--value", &small]);
    let with = json(&args);
    let perplexity =
        |results: &Value| results["results"]["first-value-text"]["token_perplexity,none"].as_f64();
    assert_ne!(perplexity(&with), perplexity(&alone));
    args.retain(|arg| *arg != "--json");
    let table = ok(&args);
    assert!(
        table.starts_with("|Tasks") && table.contains("|first-value-choices|none    |     0|acc"),
        "{table}"
    );
}

#[test]
fn a_run_goes_on_from_its_output_and_another_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (small, large) = (base("small"), base("large"));
    let task = task(dir.path(), GENERATE);
    let output = dir.path().join("out").display().to_string();
    let run = |base: &str, more: &[&str]| {
        let mut args = vec!["eval", "--base", base, "--tasks", &task, "--output", &output, "--json"];
        args.extend(more);
        command(&args).output().expect("starts")
    };
    let first = run(&small, &["--limit", "2"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let log = PathBuf::from(&output).join("samples_cities.jsonl");
    let lines = || std::fs::read_to_string(&log).expect("a log").lines().count();
    assert_eq!(lines(), 3);
    let second = run(&small, &[]);
    assert!(stderr(&second).contains("2 of 3 samples were logged by an earlier run"), "{}", stderr(&second));
    assert_eq!(lines(), 4);
    let results: Value = serde_json::from_slice(&second.stdout).expect("JSON");
    assert_eq!(results["n-samples"]["cities"]["effective"], 3);
    let written = std::fs::read(PathBuf::from(&output).join("results.json")).expect("results");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), results);
    for (base, more, what) in [
        (&large, &[][..], "models.base."),
        (&small, &["--num-fewshot", "1"][..], "num_fewshot was 0, and is 1"),
    ] {
        run::fails_with(
            &run(base, more),
            &["holds samples of another run", what, "write to another directory"],
        );
    }
    // Another metric scores the same answers.
    let text = std::fs::read_to_string(&task).expect("reads");
    std::fs::write(&task, text + "metric_list = [{ metric = \"contains\" }]\n").expect("writes");
    let again = run(&small, &[]);
    assert!(stderr(&again).contains("3 of 3 samples"), "{}", stderr(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("contains,none"));
    // The log of samples follows: its scores are those of the results.
    let samples = std::fs::read_to_string(&log).expect("a log");
    assert!(samples.contains("\"contains,none\"") && !samples.contains("\"exact_match,none\""), "{samples}");
}

#[test]
fn completions_are_written_for_another_harness() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = base("small");
    let completions = "output_type = \"generate_until\"\ngeneration_kwargs = { until = [\".\"], max_gen_toks = 4 }\n\
        completions = { task_id = \"T/{{q}}\" }\n";
    let task = task(dir.path(), completions);
    let args = ["eval", "--base", &small, "--tasks", &task];
    fails(&args, &["name one with --output DIR"]);
    let output = dir.path().join("out").display().to_string();
    ok(&[&args[..], &["--output", &output]].concat());
    let text =
        std::fs::read_to_string(Path::new(&output).join("completions_cities.jsonl")).expect("completions");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["task_id"], "T/Nemas lives in");
    assert!(lines.iter().all(|line| line["completion"].as_str().is_some_and(|text| !text.contains('.'))));
}

#[test]
fn long_prompts_are_cut_with_a_note() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = base("small");
    let task = task(dir.path(), &format!("num_fewshot = 2\n{CHOICE}"));
    let output =
        command(&["eval", "--base", &small, "--tasks", &task, "--max-length", "8"]).output().expect("starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("3 of 3 prompts are longer than the model reads"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_wrong_with_a_task_is_said_before_models_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path();
    let check = |text: &str, parts: &[&str]| {
        let path = write(folder, text);
        fails(&["eval", "--base", "no/such/model", "--tasks", &path], parts);
    };
    let good = task(folder, CHOICE);
    let good = std::fs::read_to_string(good).expect("reads");
    check("task = ", &["is not TOML"]);
    check(
        &good.replace("doc_to_choice", "doc_to_choices"),
        &["unknown key `doc_to_choices`", "did you mean `doc_to_choice`?"],
    );
    check(&format!("{good}num_fewshot = \"two\"\n"), &["`num_fewshot`", "has a value that cannot be read"]);
    check(&good.replace("multiple_choice", "multiple_choices"), &["`output_type`"]);
    check(
        &good.replace("rows.jsonl", "../rows.jsonl"),
        &["`data`", "expected a path inside the folder of the task"],
    );
    check(&good.replace("rows.jsonl", "/etc/passwd"), &["expected a path inside the folder of the task"]);
    check(&good.replace("rows.jsonl", "none.jsonl"), &["none.jsonl`, which `data` in the task"]);
    // Jinja's own words hold a second `error: `.
    let path = write(folder, &good.replace("{{q}}", "{{q"));
    let output = command(&["eval", "--base", "no/such/model", "--tasks", &path]).output().expect("starts");
    let message = stderr(&output);
    assert!(
        message.contains("`doc_to_text` in the task") && message.contains("does not compile"),
        "{message}"
    );
    assert_eq!(output.status.code(), Some(1));
    check(
        &format!("{good}metric_list = [{{ metric = \"exact_match\" }}]\n"),
        &["`metric_list.metric`", "acc, acc_norm"],
    );
    check(&good.replace("cities", "a/b"), &["`task`", "a name of letters"]);
    check(&good.replace("doc_to_target", "description"), &["has no `doc_to_target`"]);
    std::fs::write(folder.join("rows.jsonl"), "").expect("writes");
    check(&good, &["rows.jsonl` has no row"]);
    std::fs::write(folder.join("rows.jsonl"), b"{\"q\":\"\xff\"}\n").expect("writes");
    check(&good, &["line 1 of", "is not a JSON object"]);
    std::fs::write(folder.join("rows.jsonl"), "{\"q\":\"a\"}\n[1]\n").expect("writes");
    check(&good, &["line 2 of", "is not a JSON object"]);
    std::fs::write(folder.join("rows.jsonl"), vec![b'['; (64 << 20) + 1]).expect("writes");
    check(&good, &["line 1 of", "is longer than 67108864 bytes"]);
}

#[test]
fn what_is_wrong_with_a_row_names_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = base("small");
    let path = task(dir.path(), CHOICE);
    let args = ["eval", "--base", &small, "--tasks", &path];
    std::fs::write(dir.path().join("rows.jsonl"), "{\"q\":\"x\",\"a\":\"Oslo\"}\n{\"a\":\"Oslo\"}\n")
        .expect("writes");
    fails(&args, &["`doc_to_text` fails on line 2 of", "`a`"]);
    std::fs::write(dir.path().join("rows.jsonl"), "{\"q\":\"x\",\"a\":{}}\n").expect("writes");
    fails(&args, &["`doc_to_target` gives {} for line 1 of", "expected the number of a choice"]);
    std::fs::write(dir.path().join("rows.jsonl"), "{\"q\":\"x\",\"a\":\"Oslo\"}\n").expect("writes");
    fails(&[&args[..], &["--max-length", "100000"]].concat(), &["`max_length` is 100000", "256 positions"]);
    fails(&[&args[..], &["--num-fewshot", "5"]].concat(), &["5 examples", "use at most 0"]);
    fails(&[&args[..], &["--apply-chat-template"]].concat(), &["has a chat template"]);
    std::fs::write(dir.path().join("rows.jsonl"), "{\"q\":\"x\",\"a\":\"Rome\"}\n").expect("writes");
    let output = command(&args).output().expect("starts");
    assert!(
        stderr(&output).contains("what is right is none of the choices in 1 of 1 rows"),
        "{}",
        stderr(&output)
    );
}
