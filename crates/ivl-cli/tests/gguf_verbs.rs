//! Every verb with GGUF files in place of directories. The files are in F32, so that the answers are the same.

mod run;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use run::server::Running;
use run::{base, command, json, ok, text};
use tempfile::TempDir;

/// The models of the example as GGUF files.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a directory") };
        for name in ["large", "small"] {
            ok(&["convert", &base(name), "--to", "gguf:F32", "--out", &files.model(name)]);
        }
        files
    }

    fn model(&self, name: &str) -> String {
        text(&self.path(&format!("{name}.gguf")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a verb on the directories, then on the files: both outputs, in which every name of a model is the same. LARGE and SMALL
    /// stand for the models in `args`.
    fn both(&self, args: &[&str], input: &str) -> [String; 2] {
        let models: [fn(&Self, &str) -> String; 2] = [|_, name| base(name), Self::model];
        models.map(|model| {
            let (large, small) = (model(self, "large"), model(self, "small"));
            let args: Vec<String> =
                args.iter().map(|arg| arg.replace("LARGE", &large).replace("SMALL", &small)).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            spoken(&args, input).replace(&large, "LARGE").replace(&small, "SMALL").replace(".gguf", "")
        })
    }

    #[track_caller]
    fn same(&self, args: &[&str], input: &str) {
        let [directories, files] = self.both(args, input);
        assert!(!directories.is_empty());
        assert_eq!(files, directories, "{args:?}");
    }
}

/// Runs with a text on standard input and returns standard output.
#[track_caller]
fn spoken(args: &[&str], input: &str) -> String {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{args:?}: {}", run::stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn verbs_that_read_models_give_the_same_answers() {
    let files = Files::new();
    let prompt = "Question: Where does Suna live?\nAnswer:";
    let models = ["--base", "LARGE", "--value", "SMALL:0.5"];
    let with = |verb: &'static str, more: &[&'static str]| [&[verb][..], &models[..], more].concat();
    files.same(&with("generate", &["--prompt", prompt, "--max-new-tokens", "6"]), "");
    files.same(&with("score", &["--text", "Suna lives in Oslo.", "--json"]), "");
    files.same(&with("explain", &["--text", "Suna lives in Oslo.", "--json"]), "");
    files.same(
        &with("chat", &["--plain", "--json", "--max-new-tokens", "6"]),
        "Suna lives in\nMira lives in\n",
    );
    files.same(
        &["generate", "--base", "LARGE", "--draft", "SMALL", "--prompt", prompt, "--max-new-tokens", "6"],
        "",
    );
    let map = text(&files.path("map.safetensors"));
    let align = ["align", "--from", "LARGE", "--to", "SMALL", "--out", &map];
    let [directories, found] = files.both(&align, "");
    assert!(directories.starts_with("tokens of the base: 100.00% exact (384)"), "{directories}");
    assert_eq!(found.lines().next(), directories.lines().next());
    files.same(
        &["score", "--base", "LARGE", "--value", "SMALL", "--map", &map, "--text", "Suna lives", "--json"],
        "",
    );
}

#[test]
fn verbs_that_measure_models_give_the_same_figures() {
    let files = Files::new();
    let (task, rows) = (base("answers.toml"), base("held-out.jsonl"));
    let eval = ["eval", "--base", "LARGE", "--value", "SMALL:0.5", "--limit", "4", "--tasks", &task];
    files.same(&eval, "");
    let transfer = [
        "transfer",
        "--value",
        "SMALL",
        "--bases",
        "SMALL",
        "LARGE",
        "--data",
        &rows,
        "--limit",
        "4",
        "--no-answers",
        "--alphas",
        "1",
        "--json",
    ];
    files.same(&transfer, "");
    let tokenizer = |model: &str| json(&["inspect", model, "--json"])["tokenizer"].clone();
    assert_eq!(tokenizer(&files.model("large")), tokenizer(&base("large")));
    let (model, value) = (files.model("large"), files.model("small"));
    let sizes = ["--rows", "1", "--context", "8", "--tokens", "2", "--prompt", "16", "--rounds", "1"];
    let bench =
        ["bench", &model, "--value", &value, "--measure", "fused,decode,prefill,score,train", "--json"];
    assert_eq!(ok(&[&bench[..], &sizes].concat()).lines().count(), 5);
    ok(&["parity", &model]);
}

/// A configuration of a few steps of low-rank adapters.
fn adapters(dir: &Path, base_model: &str, output: &str) -> String {
    let path = dir.join(format!("{output}.toml"));
    let config = format!(
        "output = {:?}\nbase = {base_model:?}\nseed = 3\n[value.lora]\n[data]\ntrain = [{:?}]\neval = [{:?}]\n[eval]\nbases = []\n\
         [steps]\nmax_steps = 3\nbatch_size = 8\n",
        text(&dir.join(output)),
        base("train.jsonl"),
        base("held-out.jsonl"),
    );
    std::fs::write(&path, config).expect("writes");
    text(&path)
}

#[test]
fn what_is_trained_on_a_file_works_on_the_directory_and_back() {
    let files = Files::new();
    let (dir, small, file) = (files.dir.path(), base("small"), files.model("small"));
    let train = |model: &str, output: &str| json(&["train", &adapters(dir, model, output), "--json"]);
    let [of_directory, of_file] = [train(&small, "directory"), train(&file, "file")];
    assert!(of_file["evals"][0]["loss"].is_number());
    assert_eq!(of_file["evals"][0]["loss"], of_directory["evals"][0]["loss"]);
    let values = ["directory", "file"].map(|name| text(&dir.join(name)));
    let score = |model: &str, value: &str| {
        json(&["score", "--base", model, "--value", value, "--text", "Suna lives in Oslo.", "--json"])["sum"]
            .clone()
    };
    let expected = score(&small, &values[0]);
    assert!(expected.is_number());
    for (model, value) in [(&small, &values[1]), (&file, &values[0]), (&file, &values[1])] {
        assert_eq!(score(model, value), expected, "{value} on {model}");
    }
    // Base and value become one model, whose parts are a file and a directory of adapters; it becomes a file.
    let (rows, out) = (base("train.jsonl"), text(&dir.join("distilled")));
    let one = [
        "distill",
        "--base",
        &file,
        "--value",
        &values[1],
        "--data",
        &rows,
        "--out",
        &out,
        "--merge",
        "--json",
        "--set",
        "steps.max_steps=2",
    ];
    json(&one);
    let merged = text(&dir.join("distilled.gguf"));
    ok(&["convert", &out, "--to", "gguf:F32", "--out", &merged]);
    let alone = |model: &str| {
        json(&["score", "--base", model, "--text", "Suna lives in Oslo.", "--json"])["sum"].clone()
    };
    assert_eq!(alone(&merged), alone(&out));
    // Adapters become a whole model on the way to a file.
    let whole = text(&dir.join("value.gguf"));
    ok(&["convert", &values[1], "--to", "gguf:F32", "--out", &whole]);
    let apart = |value: &str| score(&file, value).as_f64().expect("a sum");
    assert!((apart(&whole) - apart(&values[1])).abs() < 1e-3);
}

#[test]
fn a_server_answers_from_files() {
    let files = Files::new();
    let (large, small) = (files.model("large"), files.model("small"));
    let server = Running::new(&["--base", &large, "--value", &small]);
    assert_eq!(server.said["models"], serde_json::json!(["large", "small"]));
    let request = serde_json::json!({
        "model": "small", "prompt": "Suna lives in", "max_tokens": 4, "temperature": 0, "logprobs": 1,
    });
    let answer = server.post("/v1/completions", &request);
    let expected = ok(&[
        "generate",
        "--base",
        &base("large"),
        "--value",
        &base("small"),
        "--prompt",
        "Suna lives in",
        "--max-new-tokens",
        "4",
    ]);
    assert_eq!(answer["choices"][0]["text"].as_str(), Some(expected.trim_end_matches('\n')), "{answer}");
}
