//! `ivl transfer` on the models of `examples/first-value`.

mod run;

use std::path::Path;

use run::{base, command, fails, json, ok, stderr, trained_value};
use serde_json::Value;

#[test]
fn seeds_weights_and_fine_tunings_make_a_table_and_a_verdict() {
    let dir = tempfile::tempdir().expect("a directory");
    let values = [trained_value(dir.path(), "one", "1", &[]), trained_value(dir.path(), "two", "2", &[])];
    let recipe = dir.path().join("one/train.toml").display().to_string();
    let (small, large, data) = (base("small"), base("large"), base("held-out.jsonl"));
    let out = dir.path().join("out").display().to_string();
    let args = |more: &[&'static str]| -> Vec<String> {
        let fixed =
            ["transfer", "--value", &values[0], &values[1], "--bases", &small, &large, "--data", &data];
        fixed.iter().map(ToString::to_string).chain(more.iter().map(ToString::to_string)).collect()
    };
    let mut whole = args(&[
        "--alphas",
        "0.5,1",
        "--limit",
        "24",
        "--json",
        "--quiet",
        "--write-card",
        "--train-full-finetunes",
    ]);
    whole.extend([recipe, "--out".to_owned(), out.clone()]);
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    let table = json(&whole);
    assert_eq!(table["questions"], 24);
    let (home, away) = (&table["bases"][0], &table["bases"][1]);
    assert_eq!((&home["home"], &away["home"]), (&Value::Bool(true), &Value::Bool(false)));
    for base in [home, away] {
        assert_eq!(base["with"][1]["loss"]["by_seed"].as_array().expect("seeds").len(), 2);
        assert!(base["with"][1]["loss"]["mean"].as_f64() < base["alone"]["loss"]["mean"].as_f64(), "{base}");
        assert!(base["with"][1]["recovered_loss"]["value"].as_f64().expect("a gap") > 0.5, "{base}");
        assert_eq!(base["coverage"]["answers"], 1.0);
    }
    let files: Vec<String> = ["report.html", "table.md", "table.json", "answers.jsonl"]
        .map(|name| std::fs::read_to_string(Path::new(&out).join(name)).expect(name))
        .to_vec();
    assert!(files[1].contains("| large |") && files[1].contains("Each seed"));
    assert_eq!(files[3].lines().count(), 2 * 24 * (1 + 2 * 2 + 1));
    let card_of = |value: &String| std::fs::read(Path::new(value).join("ivl.json")).expect("a card");
    for value in &values {
        let card: Value = serde_json::from_slice(&card_of(value)).expect("JSON");
        assert_eq!(
            (&card["alpha"], &card["transfer"]["seeds"]),
            (&table["verdict"]["alpha"], &Value::from(2))
        );
    }
    // Fine-tunings are found again; the same table comes out.
    assert_eq!(json(&whole), table);
    // Without --write-card the card stays as it is.
    let before = card_of(&values[0]);
    let read = args(&["--no-answers", "--limit", "5", "--quiet"]);
    let text = ok(&read.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(card_of(&values[0]), before);
    assert!(text.contains("Loss: cross-entropy") && text.contains("Recommended alpha"), "{text}");
}

#[test]
fn cascades_travel_by_the_same_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let value = trained_value(dir.path(), "cascade", "1", &["value.connection=cascade"]);
    let (small, data) = (base("small"), base("held-out.jsonl"));
    let table = json(&[
        "transfer", "--value", &value, "--bases", &small, "--data", &data, "--alphas", "1", "--limit", "8",
        "--json",
    ]);
    let base = &table["bases"][0];
    assert!(base["with"][0]["loss"]["mean"].as_f64() < base["alone"]["loss"]["mean"].as_f64(), "{base}");
}

#[test]
fn what_cannot_be_measured_is_said_first() {
    let (small, large, data) = (base("small"), base("large"), base("held-out.jsonl"));
    let start = ["transfer", "--value", &small, "--bases", &small, &large];
    let with = |more: &[&str]| -> Vec<String> { start.iter().chain(more).map(ToString::to_string).collect() };
    let expect = |more: &[&str], parts: &[&str]| {
        let args = with(more);
        fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    expect(
        &["--data", &data, "--full-finetunes", &small, &large, &small],
        &["3 models for 2 bases", "one per base"],
    );
    expect(&["--data", "nothing.jsonl"], &["nothing.jsonl"]);
    expect(&["--data", &data, "--limit", "0"], &["leaves no question"]);
    expect(&["--data", &data, "--alphas", "nan"], &["--alphas", "0.5,1,1.5"]);
    let output = command(&["transfer", "--bases", &small]).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
