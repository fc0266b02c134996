//! Runs the binary as a user would, on the models of `examples/first-value`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of this; `pub` marks what they may"
)]

pub mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One of the example's bases: `small` or `large`.
pub fn base(name: &str) -> String {
    repository().join("examples/first-value").join(name).display().to_string()
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ivl"));
    command.args(args).env_remove("RUST_BACKTRACE").env("HF_HUB_OFFLINE", "1");
    command
}

/// Runs and returns standard output.
#[track_caller]
pub fn ok(args: &[&str]) -> String {
    let output = command(args).output().expect("starts");
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
pub fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&ok(args)).expect("one JSON object")
}

/// Runs, expects exit status 1 and one message with all of `parts`; no panic, nothing on standard output.
#[track_caller]
pub fn fails(args: &[&str], parts: &[&str]) {
    fails_with(&command(args).output().expect("starts"), parts);
}

#[track_caller]
pub fn fails_with(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A copy of a base to be broken.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&base(name)).join(file), dir.path().join(file)).expect("copies");
    }
    dir
}

/// Changes a JSON file in place.
pub fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut json = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    change(&mut json);
    std::fs::write(path, json.to_string()).expect("writes");
}

/// A training configuration of a few steps in `dir`, against the small base.
pub fn train_config(dir: &Path, more: &str) -> String {
    let path = dir.join("train.toml");
    let text = format!(
        "output = {:?}\nbase = {:?}\n{more}\n[value]\nmodel = {:?}\n[data]\ntrain = [{:?}]\n[steps]\nmax_steps = 4\n",
        dir.join("value").display().to_string(),
        base("small"),
        base("small"),
        base("train.jsonl"),
    );
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

/// Trains a value of the small base for three epochs, without held-out rows, and returns its directory.
pub fn trained_value(dir: &Path, name: &str, seed: &str, settings: &[&str]) -> String {
    let output = text(&dir.join(name));
    let paths = [
        format!("output={output}"),
        format!("base={}", base("small")),
        format!("value.model={}", base("small")),
        format!("data.train=[{:?}]", base("train.jsonl")),
        "data.eval=[]".to_owned(),
        "eval.bases=[]".to_owned(),
    ];
    let recipe = base("train.toml");
    let mut args = vec!["train", recipe.as_str(), "--quiet", "--seed", seed, "--set", "steps.epochs=3"];
    for set in paths.iter().map(String::as_str).chain(settings.iter().copied()) {
        args.extend(["--set", set]);
    }
    ok(&args);
    output
}
