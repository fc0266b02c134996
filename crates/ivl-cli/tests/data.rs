//! `ivl data preview`, and training on data of several kinds.

mod run;

use std::path::Path;

use run::{base, fails, json, ok, train_config};
use serde_json::Value;

fn lines(args: &[&str]) -> Vec<Value> {
    ok(args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A template with end tokens, and the same turns as messages and as ShareGPT.
fn conversations(dir: &Path) -> String {
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{{ eos_token }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant: {% endif %}";
    std::fs::write(dir.join("chat.jinja"), template).expect("writes");
    std::fs::copy(Path::new(&base("small")).join("tokenizer_config.json"), dir.join("tokenizer_config.json"))
        .expect("copies");
    let turns = [("Where does Suna live?", " Paris. "), ("What does Suna like to eat?", "plums")];
    let rows = |role: &str, content: &str, names: [&str; 2], key: &str| -> String {
        let turn = |(question, answer): &(&str, &str)| {
            format!(
                "{{\"{role}\":\"{}\",\"{content}\":\"{question}\"}},{{\"{role}\":\"{}\",\"{content}\":\"{answer}\"}}",
                names[0], names[1]
            )
        };
        format!("{{\"{key}\":[{}]}}\n", turns.iter().map(turn).collect::<Vec<_>>().join(","))
    };
    let messages = rows("role", "content", ["user", "assistant"], "messages");
    let sharegpt = rows("from", "value", ["human", "gpt"], "conversations");
    std::fs::write(dir.join("messages.jsonl"), messages).expect("writes");
    std::fs::write(dir.join("sharegpt.json"), format!("[{sharegpt}]")).expect("writes");
    let config = dir.join("run.toml");
    let [out, template] = ["out", "chat.jinja"].map(|name| dir.join(name).display().to_string());
    let [messages, sharegpt] =
        ["messages.jsonl", "sharegpt.json"].map(|name| dir.join(name).display().to_string());
    let text = format!(
        "output = {out:?}\n[value]\nmodel = {:?}\n[data]\nchat_template = {template:?}\nmax_length = 128\n\
         train = [{messages:?}, {{ path = {sharegpt:?}, weight = 2 }}, {{ path = {:?}, columns = {{ text = \"completion\" }} }}]\n\
         [steps]\nmax_steps = 2\n",
        base("small"),
        base("train.jsonl"),
    );
    std::fs::write(&config, text).expect("writes");
    config.display().to_string()
}

#[test]
fn a_preview_marks_the_trained_text() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = conversations(dir.path());
    let page = ok(&["data", "preview", &config, "-n", "1"]);
    assert!(!page.contains('\u{1b}'), "no colour in a pipe: {page}");
    let marked = "user: Where does Suna live?</s>\nassistant:⟦ Paris.</s>⟧\nuser: What does Suna like to eat?</s>\nassistant:⟦ plums</s>⟧";
    assert_eq!(page.matches(marked).count(), 2, "messages and ShareGPT are the same conversation: {page}");
    assert!(page.contains("⟦ Paris.</s>⟧"), "the text of the third source: {page}");
    for part in [
        "(messages)",
        "(sharegpt)",
        "(text)",
        "0 of 1 rows",
        "packed",
        "random",
        "(chosen)",
        "lengths: median",
    ] {
        assert!(page.contains(part), "`{part}` is not in: {page}");
    }
}

#[test]
fn a_preview_as_json_has_ids_masks_and_statistics() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = conversations(dir.path());
    let lines = lines(&["data", "preview", &config, "-n", "2", "--json", "--set", "data.batching=packed"]);
    assert_eq!(lines.len(), 1 + 1 + 2 + 1);
    for line in &lines[..4] {
        let (ids, mask) = (line["ids"].as_array().expect("ids"), line["mask"].as_array().expect("mask"));
        assert_eq!((ids.len(), mask.len()), (mask.len(), line["length"].as_u64().expect("length") as usize));
        assert!(mask.contains(&Value::from(true)) && mask[0] == false);
    }
    assert_eq!(lines[0]["ids"], lines[1]["ids"]);
    assert_eq!(lines[3]["number"], 2);
    let statistics = &lines[4]["statistics"];
    let sources = statistics["sources"].as_array().expect("sources");
    assert_eq!(sources.iter().map(|s| &s["rows"]).collect::<Vec<_>>(), [1, 1, 160]);
    let batching = statistics["batching"].as_array().expect("batching");
    assert_eq!(
        batching.iter().map(|b| &b["batching"]).collect::<Vec<_>>(),
        ["random", "by-length", "packed"]
    );
    assert_eq!(batching[2]["chosen"], true);
    // A row more than the file has of its own: the weight.
    assert!(batching[0]["rows"] == 163 && batching[2]["rows"].as_u64() < Some(40), "{batching:?}");
    fails(&["data", "preview", &config, "--eval"], &["`data.eval` names no source"]);
    fails(&["data", "preview", &config, "--set", "data.pakcing=true"], &["unknown key `data.pakcing`"]);
}

#[test]
fn packed_rows_train_and_resume_to_the_same_bytes() {
    let trained = |stop: bool| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = train_config(dir.path(), "");
        let train = |more: &[&str]| -> Value {
            let settings = ["data.batching=packed", "data.max_length=48", "steps.max_steps=6"];
            let set = settings.iter().flat_map(|set| ["--set", *set]);
            let args = ["train", &config, "--json"].into_iter().chain(set).chain(more.iter().copied());
            json(&args.collect::<Vec<_>>())
        };
        if stop {
            // The first run is thrown back to its checkpoint after the third step.
            train(&["--set", "checkpoint.every=3"]);
            let value = dir.path().join("value");
            std::fs::remove_dir_all(value.join("checkpoints/step-6")).expect("removes");
            std::fs::remove_file(value.join("config.json")).expect("removes");
            std::fs::remove_dir_all(value.join("tokens")).expect("the tokens are made anew");
            train(&["--set", "checkpoint.every=3", "--resume"]);
        } else {
            train(&[]);
        }
        std::fs::read(dir.path().join("value/model.safetensors")).expect("weights")
    };
    assert!(trained(false) == trained(true), "the weights differ");
}
