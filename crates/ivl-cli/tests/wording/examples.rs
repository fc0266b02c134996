//! The examples of the help texts run as they are printed.

use std::path::Path;
use std::process::Command;

use crate::VERBS;
use crate::run::{command, repository};

/// Examples that are not run here, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("ivl demo", "takes minutes; CI runs it"),
    ("ivl serve ", "runs until it is stopped"),
    ("ivl bench 134m ", "takes a minute; the other example of `bench` is run"),
];

/// The commands below `Example:` in a help text, continued lines joined.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Example:").skip(1);
    let text: Vec<&str> = lines.take_while(|line| !line.is_empty()).map(str::trim).collect();
    let joined = text.join("\n").replace("\\\n", "");
    joined.lines().map(ToOwned::to_owned).collect()
}

/// Copies a directory with its files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copies");
        }
    }
}

#[test]
fn every_example_runs_as_printed() {
    // The files that the examples read, from the root of the repository; the first example writes `runs`.
    let root = tempfile::tempdir().expect("dir");
    for dir in ["examples/first-value", "crates/ivl-demo-models/models"] {
        copy(&repository().join(dir), &root.path().join(dir));
    }
    let binaries = Path::new(env!("CARGO_BIN_EXE_ivl")).parent().expect("a directory");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for verb in VERBS {
        let args: Vec<&str> = verb.iter().copied().chain(["--help"]).collect();
        let output = command(&args).env("COLUMNS", "100").output().expect("starts");
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{verb:?}");
        for example in examples {
            if NOT_RUN.iter().any(|(start, _)| format!("{example} ").starts_with(start)) {
                continue;
            }
            let done = Command::new("bash")
                .args(["-c", &example])
                .current_dir(root.path())
                .env("PATH", &path)
                .env("HF_HUB_OFFLINE", "1")
                .stdin(std::process::Stdio::null())
                .output()
                .expect("starts");
            assert!(done.status.success(), "{example}\n{}", String::from_utf8_lossy(&done.stderr));
            ran += 1;
        }
    }
    assert!(ran > VERBS.len() - NOT_RUN.len(), "{ran}");
}
