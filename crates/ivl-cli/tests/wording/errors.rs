//! Errors as a user sees them: a table of wrong calls, each with its exit status and its message.

use std::fmt::Write;
use std::path::Path;

use crate::run::{command, repository};

/// A wrong call, and the changes to the files of [`workspace`] that it needs.
struct Case {
    what: &'static str,
    prepare: fn(&Path),
    args: &'static [&'static str],
}

const fn case(what: &'static str, args: &'static [&'static str]) -> Case {
    Case { what, prepare: |_| (), args }
}

const fn with(what: &'static str, prepare: fn(&Path), args: &'static [&'static str]) -> Case {
    Case { what, prepare, args }
}

/// A directory with the example's bases `small` and `large`, `broken`, a copy of `small` to be changed, and `other`, a model of
/// another family.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    let examples = repository().join("examples/first-value");
    let sources = [
        ("small", examples.join("small")),
        ("large", examples.join("large")),
        ("broken", examples.join("small")),
        ("other", repository().join("crates/ivl-demo-models/models/other")),
    ];
    for (name, source) in sources {
        std::fs::create_dir(dir.path().join(name)).expect("creates");
        for entry in std::fs::read_dir(source).expect("reads") {
            let entry = entry.expect("entry");
            std::fs::copy(entry.path(), dir.path().join(name).join(entry.file_name())).expect("copies");
        }
    }
    for name in ["train.jsonl", "held-out.jsonl"] {
        std::fs::copy(examples.join(name), dir.path().join(name)).expect("copies");
    }
    write(dir.path(), "train.toml", TRAIN);
    write(dir.path(), "task.toml", TASK);
    dir
}

const TRAIN: &str = "output = \"value\"\nbase = \"small\"\n[value]\n[data]\ntrain = [\"train.jsonl\"]\n[steps]\nmax_steps = 2\n";
const TASK: &str = "task = \"t\"\noutput_type = \"generate_until\"\ndata = \"held-out.jsonl\"\ndoc_to_text = \"{{prompt}}\"\n\
                    doc_to_target = \"{{completion}}\"\n";

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("writes");
}

/// Sets a field of `broken/config.json`.
fn set(dir: &Path, field: &str, value: serde_json::Value) {
    crate::run::edit(&dir.join("broken/config.json"), |config| config[field] = value);
}

/// Runs every case in a workspace of its own; shows command, exit status and standard error.
fn shown(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let dir = workspace();
        (case.prepare)(dir.path());
        let output = command(case.args)
            .current_dir(dir.path())
            .env("COLUMNS", "100")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("starts");
        assert!(!output.status.success(), "{}: {}", case.what, String::from_utf8_lossy(&output.stdout));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked"), "{}: {message}", case.what);
        let message = message.replace(&dir.path().display().to_string(), "[workspace]");
        let status = output.status.code().expect("no signal");
        let _ = writeln!(
            text,
            "## {}\n$ ivl {}\n{}(exit status {status})\n",
            case.what,
            case.args.join(" "),
            message
        );
    }
    text
}

macro_rules! group {
    ($name:ident, [$($case:expr),+ $(,)?]) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(concat!("errors-", stringify!($name)), shown(&[$($case),+]));
        }
    };
}

group!(
    arguments,
    [
        case("no command", &[]),
        case("an unknown command", &["trian", "train.toml"]),
        case("no base", &["generate", "--prompt", "x"]),
        case("no prompt", &["generate", "--base", "small"]),
        case("an unknown option", &["generate", "--base", "small", "--prompt", "x", "--temprature", "1"]),
        case("a number that is none", &["generate", "--base", "small", "--prompt", "x", "--top-k", "y"]),
        case("an unknown type", &["score", "--base", "small", "--text", "x", "--dtype", "f64"]),
        case("two inputs", &["score", "--base", "small", "--text", "x", "--file", "f.jsonl"]),
        case("an unknown device", &["score", "--base", "small", "--text", "x", "--device", "tpu"]),
        case(
            "a device that is not built in",
            &["score", "--base", "small", "--text", "x", "--device", "cuda"]
        ),
        case(
            "a weight that is no number",
            &["score", "--base", "small", "--value", "large:abc", "--text", "x"]
        ),
        case("a gate that is none", &["generate", "--base", "small", "--prompt", "x", "--gate", "entropy"]),
        case(
            "a gate without a value",
            &["generate", "--base", "small", "--prompt", "x", "--gate", "every=2"]
        ),
        case("a bias that is none", &["generate", "--base", "small", "--prompt", "x", "--logit-bias", "x"]),
        case(
            "a bias of a token that is not there",
            &["generate", "--base", "small", "--prompt", "x", "--logit-bias", "999=1"]
        ),
        case("a negative temperature", &["generate", "--base", "small", "--prompt", "x", "--temperature=-1"]),
        case("a nucleus of nothing", &["generate", "--base", "small", "--prompt", "x", "--top-p", "0"]),
        case("no benchmark shape", &["bench", "3b"]),
        case("fused decoding without a value", &["bench", "24m", "--measure", "fused"]),
    ]
);

group!(
    models,
    [
        case("a model that is not there", &["inspect", "absent/model/here"]),
        case("a hub name that is not in the cache", &["inspect", "org/absent"]),
        with(
            "an empty directory",
            |dir| std::fs::create_dir(dir.join("empty")).expect("creates"),
            &["inspect", "empty"]
        ),
        with(
            "no weights",
            |dir| std::fs::remove_file(dir.join("broken/model.safetensors")).expect("removes"),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "no tokenizer",
            |dir| std::fs::remove_file(dir.join("broken/tokenizer.json")).expect("removes"),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "a truncated weight file",
            |dir| write(dir, "broken/model.safetensors", "short"),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "a configuration that is not JSON",
            |dir| write(dir, "broken/config.json", "{"),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "a tokenizer that is not one",
            |dir| write(dir, "broken/tokenizer.json", "{}"),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "an unknown architecture",
            |dir| set(dir, "model_type", "mamba".into()),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "an unknown activation",
            |dir| set(dir, "hidden_act", "mish".into()),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "weights of another size",
            |dir| set(dir, "intermediate_size", 95.into()),
            &["score", "--base", "broken", "--text", "x"]
        ),
        with(
            "a tokenizer with more tokens than logits",
            |dir| {
                std::fs::copy(dir.join("other/tokenizer.json"), dir.join("broken/tokenizer.json"))
                    .expect("copies");
            },
            &["score", "--base", "broken", "--text", "x"]
        ),
        case(
            "a text longer than the context",
            &["generate", "--base", "small", "--prompt-file", "train.jsonl"]
        ),
        case(
            "a prompt file that is not there",
            &["generate", "--base", "small", "--prompt-file", "absent.txt"]
        ),
        with(
            "messages without a chat template",
            |dir| write(dir, "m.json", "[{\"role\": \"user\", \"content\": \"hi\"}]"),
            &["generate", "--base", "small", "--messages", "m.json"]
        ),
        with(
            "messages that are none",
            |dir| write(dir, "m.json", "{\"role\": 3}"),
            &["generate", "--base", "small", "--messages", "m.json"]
        ),
    ]
);

group!(
    values,
    [
        case(
            "a gate for a value without a card",
            &["gate", "--base", "small", "--value", "large", "--data", "held-out.jsonl"]
        ),
        case("a gate without data", &["gate", "--base", "small", "--value", "large"]),
        case(
            "a value with another vocabulary",
            &["score", "--base", "small", "--value", "other", "--text", "x"]
        ),
        case(
            "a draft with another vocabulary",
            &["generate", "--base", "small", "--draft", "other", "--prompt", "x"]
        ),
        case(
            "a map that is not there",
            &["score", "--base", "small", "--value", "other", "--map", "absent.safetensors", "--text", "x"]
        ),
        case(
            "a map that is none",
            &[
                "score",
                "--base",
                "small",
                "--value",
                "other",
                "--map",
                "small/model.safetensors",
                "--text",
                "x"
            ]
        ),
        case(
            "byte fusion with the wrong reference",
            &["score", "--base", "small", "--value", "other", "--byte-fusion", "small", "--text", "x"]
        ),
        case(
            "an alignment that needs a corpus",
            &["align", "--from", "small", "--to", "other", "--method", "co-occurrence", "--out", "map"]
        ),
        case(
            "an unknown alignment",
            &["align", "--from", "small", "--to", "other", "--method", "fuzzy", "--out", "map"]
        ),
        case(
            "a served value with another vocabulary",
            &["serve", "--base", "small", "--value", "other", "--port", "0"]
        ),
        case(
            "a server for everyone without a key",
            &["serve", "--base", "small", "--host", "0.0.0.0", "--port", "0"]
        ),
        case(
            "two served models of one name",
            &["serve", "--base", "small", "--value", "v=large", "--value", "v=large", "--port", "0"]
        ),
    ]
);

group!(
    training,
    [
        case("a configuration that is not there", &["train", "absent.toml"]),
        with(
            "a configuration that is not TOML",
            |dir| write(dir, "train.toml", "output = ["),
            &["train", "train.toml"]
        ),
        case("an unknown key", &["train", "train.toml", "--set", "optimizer.learning_rat=1"]),
        case("a key of TRL", &["train", "train.toml", "--set", "num_train_epochs=1"]),
        case("a negative rate", &["train", "train.toml", "--set", "optimizer.learning_rate=-1"]),
        case("a text for a number", &["train", "train.toml", "--set", "steps.batch_size=many"]),
        case("no examples in a batch", &["train", "train.toml", "--set", "steps.batch_size=0"]),
        case("an unknown choice", &["train", "train.toml", "--set", "value.connection=series"]),
        case(
            "keys that exclude each other",
            &["train", "train.toml", "--set", "value.connection=cascade", "--set", "base_logits.dir=l"]
        ),
        case("bases to evaluate without data", &["train", "train.toml", "--set", "eval.bases=['large']"]),
        case("a setting without a value", &["train", "train.toml", "--set", "seed"]),
        case("nothing to resume", &["train", "train.toml", "--resume"]),
        with(
            "an output that is there",
            |dir| {
                std::fs::create_dir(dir.join("value")).expect("creates");
                std::fs::copy(dir.join("small/config.json"), dir.join("value/config.json")).expect("copies");
            },
            &["train", "train.toml"]
        ),
        with(
            "an output that cannot be written",
            |dir| write(dir, "value", "a file"),
            &["train", "train.toml"]
        ),
    ]
);

group!(
    data,
    [
        case("data that is not there", &["train", "train.toml", "--set", "data.train=['absent.jsonl']"]),
        with(
            "a line that is not JSON",
            |dir| write(dir, "train.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"cut\n"),
            &["train", "train.toml"]
        ),
        with(
            "a row of another format",
            |dir| write(dir, "train.jsonl", "{\"text\": \"fine\"}\n\n{\"prompt\": \"p\"}\n"),
            &["train", "train.toml"]
        ),
        with(
            "fields of no format",
            |dir| write(dir, "train.jsonl", "{\"question\": \"q\"}\n"),
            &["train", "train.toml"]
        ),
        with(
            "fields of two formats",
            |dir| write(
                dir,
                "train.jsonl",
                "{\"prompt\": \"p\", \"completion\": \"c\", \"instruction\": \"i\", \"output\": \"o\"}\n"
            ),
            &["train", "train.toml"]
        ),
        with(
            "a column that is no text",
            |dir| write(dir, "train.jsonl", "{\"prompt\": 7, \"completion\": \"c\"}\n"),
            &["train", "train.toml"]
        ),
        with("an empty file", |dir| write(dir, "train.jsonl", ""), &["train", "train.toml"]),
        with(
            "no trained token",
            |dir| write(dir, "train.jsonl", "{\"prompt\": \"long\", \"completion\": \"x\"}\n"),
            &["train", "train.toml", "--set", "data.max_length=2"]
        ),
        with(
            "messages without a chat template",
            |dir| write(
                dir,
                "train.jsonl",
                "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}\n"
            ),
            &["train", "train.toml"]
        ),
        with(
            "texts to score that are none",
            |dir| write(dir, "t.jsonl", "{\"text\": 1}\n"),
            &["score", "--base", "small", "--file", "t.jsonl"]
        ),
        case(
            "questions that are not there",
            &["transfer", "--value", "small", "--bases", "large", "--data", "absent.jsonl"]
        ),
        case(
            "fine-tunings for another number of bases",
            &[
                "transfer",
                "--value",
                "small",
                "--bases",
                "small",
                "large",
                "--data",
                "held-out.jsonl",
                "--full-finetunes",
                "small",
                "large",
                "small"
            ]
        ),
    ]
);

group!(
    tasks,
    [
        case("a task that is not there", &["eval", "--base", "small", "--tasks", "absent.toml"]),
        with(
            "a task that is not TOML",
            |dir| write(dir, "task.toml", "task ="),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        with(
            "an unknown key",
            |dir| write(dir, "task.toml", &format!("{TASK}doc_to_txt = \"x\"\n")),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        with(
            "data outside of the folder",
            |dir| write(dir, "task.toml", &TASK.replace("held-out", "../held-out")),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        with(
            "data that is not there",
            |dir| write(dir, "task.toml", &TASK.replace("held-out", "absent")),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        with(
            "a field that a row does not have",
            |dir| write(dir, "task.toml", &TASK.replace("{{prompt}}", "{{question}}")),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        with(
            "a template that does not compile",
            |dir| write(dir, "task.toml", &TASK.replace("{{prompt}}", "{{prompt")),
            &["eval", "--base", "small", "--tasks", "task.toml"]
        ),
        case(
            "more examples than rows",
            &["eval", "--base", "small", "--tasks", "task.toml", "--num-fewshot", "100"]
        ),
        with(
            "samples of another run",
            |dir| {
                std::fs::create_dir(dir.join("out")).expect("creates");
                write(dir, "out/samples_t.jsonl", "{\"run\": 1}\n");
            },
            &["eval", "--base", "small", "--tasks", "task.toml", "--output", "out"]
        ),
    ]
);
