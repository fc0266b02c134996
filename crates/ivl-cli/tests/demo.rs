//! The demonstration, shortened: it fails unless the value helps bases that its training never saw.

mod run;

use std::path::Path;

use run::{fails, json, ok};
use serde_json::Value;

fn base<'a>(table: &'a Value, name: &str) -> &'a Value {
    let bases = table["bases"].as_array().expect("bases");
    bases.iter().find(|base| base["name"] == name).expect("the base")
}

fn figure(setting: &Value, name: &str) -> f64 {
    setting[name]["mean"].as_f64().expect("a number")
}

#[test]
fn a_value_of_the_smallest_helps_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("demo");
    let out = out.to_str().expect("UTF-8");
    let table = json(&["demo", "--quick", "--out", out, "--json", "--quiet"]);
    assert_eq!(base(&table, "small")["home"], true);
    let alpha = table["verdict"]["alpha"].as_f64().expect("a number");
    for name in ["medium", "large", "continued"] {
        let base = base(&table, name);
        assert_eq!(base["home"], false);
        let with = base["with"].as_array().expect("settings");
        let with = with.iter().find(|with| with["alpha"] == alpha).expect("the recommended weight");
        let (before, after) = (figure(&base["alone"], "loss"), figure(with, "loss"));
        assert!(
            after < 0.7 * before,
            "{name}: the loss of the answers, {before} alone, {after} with the value"
        );
    }
    let large = &base(&table, "large");
    let gain = &table["verdict"]["bases"].as_array().expect("verdicts")[2];
    assert_eq!((gain["name"].as_str(), gain["effect"].as_str()), (Some("large"), Some("helps")), "{large}");

    let at = |name: &str| Path::new(out).join(name);
    let page = std::fs::read_to_string(at("report.html")).expect("a page");
    assert!(page.contains("class=\"heat\"") && page.trim_end().ends_with("</html>"));
    let answers = std::fs::read_to_string(at("answers.jsonl")).expect("answers");
    assert_eq!(answers.lines().count(), 5 * 4 * 40, "bases, settings, questions");
    let card: Value =
        serde_json::from_slice(&std::fs::read(at("value/ivl.json")).expect("a card")).expect("JSON");
    assert_eq!(card["alpha"], alpha);
    assert_eq!(card["transfer"]["verdict"], table["verdict"]["text"]);

    // Existing files are reused, with the same result.
    let before =
        std::fs::metadata(at("value/model.safetensors")).expect("weights").modified().expect("a time");
    assert_eq!(json(&["demo", "--quick", "--out", out, "--json", "--quiet"]), table);
    let after =
        std::fs::metadata(at("value/model.safetensors")).expect("weights").modified().expect("a time");
    assert_eq!(before, after, "the value was trained once");
    // The recipe is an ordinary one.
    ok(&["data", "preview", at("value.toml").to_str().expect("UTF-8"), "-n", "1"]);
    fails(
        &["demo", "--quick", "--seed", "9", "--out", out],
        &["value.toml", "another seed", "choose another --out"],
    );
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("thesis.txt"), "all of it").expect("writes");
    let out = dir.path().to_str().expect("UTF-8");
    fails(&["demo", "--out", out], &["something else than a demonstration", "--out"]);
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 1);
}
