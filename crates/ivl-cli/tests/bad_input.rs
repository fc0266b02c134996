//! Broken files and wrong options: one clear message, exit status 1 or 2, nothing half-written.

mod run;

use std::path::Path;

use run::{base, command, copy_of, edit, fails, fails_with, ok, stderr, train_config};

fn generate<'a>(model: &'a str, prompt: &'a str) -> Vec<&'a str> {
    vec!["generate", "--base", model, "--prompt", prompt, "--max-new-tokens", "2"]
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn files_that_are_missing() {
    fails(
        &generate("no/such/model/here", "x"),
        &["no/such/model/here", "neither a directory, a GGUF file nor a hub name"],
    );
    fails(&generate("org/absent", "x"), &["org/absent", "hub or its cache"]);
    let empty = tempfile::tempdir().expect("dir");
    fails(&generate(text(empty.path()), "x"), &["has no config.json", "Hugging Face checkpoint directory"]);
    for file in ["model.safetensors", "tokenizer.json"] {
        let copy = copy_of("small");
        std::fs::remove_file(copy.path().join(file)).expect("removes");
        fails(&generate(text(copy.path()), "x"), &["has no ", file]);
    }
    fails(&["train", "absent.toml"], &["cannot read `absent.toml`"]);
    fails(
        &["generate", "--base", &base("small"), "--prompt-file", "absent.txt"],
        &["cannot read `absent.txt`"],
    );
    fails(&["score", "--base", &base("small"), "--file", "absent.jsonl"], &["cannot read `absent.jsonl`"]);
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    fails(&["train", &config, "--set", "data.train=['absent.jsonl']"], &["cannot read `absent.jsonl`"]);
}

#[test]
fn a_truncated_safetensors_file() {
    let copy = copy_of("small");
    let path = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&path).expect("reads");
    for len in [bytes.len() - 1, bytes.len() / 2, 100, 7, 0] {
        std::fs::write(&path, &bytes[..len]).expect("writes");
        fails(
            &generate(text(copy.path()), "x"),
            &["model.safetensors", "is not a whole safetensors file", "download"],
        );
    }
}

#[test]
fn a_header_that_claims_two_to_the_sixty_bytes() {
    let copy = copy_of("small");
    let path = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    std::fs::write(&path, &bytes).expect("writes");
    fails(&generate(text(copy.path()), "x"), &["is not a whole safetensors file"]);
}

#[test]
fn tensors_that_do_not_fit_are_all_reported() {
    let copy = copy_of("small");
    edit(&copy.path().join("config.json"), |config| {
        config["intermediate_size"] = 95.into();
        config["num_hidden_layers"] = 3.into();
    });
    fails(
        &generate(text(copy.path()), "x"),
        &[
            "missing: `model.layers.2.",
            "of another shape: `model.layers.0.mlp.gate_proj.weight` [96, 32], expected [95, 32]",
            "model.layers.1.mlp.down_proj.weight",
        ],
    );
    let copy = copy_of("small");
    edit(&copy.path().join("config.json"), |config| config["num_hidden_layers"] = 1.into());
    fails(&generate(text(copy.path()), "x"), &["9 not used: `model.layers.1.input_layernorm.weight`"]);
}

#[test]
fn configurations_that_ivl_does_not_know() {
    let change = |field: &str, value: serde_json::Value| {
        let copy = copy_of("small");
        edit(&copy.path().join("config.json"), |config| config[field] = value);
        copy
    };
    let refused = |copy: tempfile::TempDir, parts: &[&str]| fails(&generate(text(copy.path()), "x"), parts);
    refused(change("model_type", "perceptron".into()), &["model_type `perceptron`", "llama, mistral, qwen2"]);
    refused(change("model_type", "mamba".into()), &["model_type `mamba`", "needs Mamba layers"]);
    refused(change("hidden_act", "mish".into()), &["field `hidden_act`", "\"mish\"", "silu, gelu"]);
    refused(
        change("rope_scaling", serde_json::json!({ "type": "foo" })),
        &["field `rope_scaling.type`", "\"foo\"", "yarn"],
    );
    refused(change("hidden_size", (-3).into()), &["field `hidden_size`", "-3"]);
    refused(change("num_hidden_layers", 1_000_000.into()), &["num_hidden_layers", "4096"]);
    refused(change("num_key_value_heads", 3.into()), &["num_key_value_heads", "divisor"]);
    refused(change("quantization_config", serde_json::json!({})), &["quantization_config.quant_method"]);
    let method = serde_json::json!({ "quant_method": "bitsandbytes" });
    refused(change("quantization_config", method), &["bitsandbytes", "model.dequantize()"]);
    let copy = copy_of("small");
    std::fs::write(copy.path().join("config.json"), "{").expect("writes");
    refused(copy, &["config.json` is not a JSON object"]);
}

#[test]
fn all_weights_of_a_quantised_model_are_not_trained() {
    let copy = copy_of("small");
    let method = serde_json::json!({ "quant_method": "awq" });
    edit(&copy.path().join("config.json"), |config| config["quantization_config"] = method);
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    let set = format!("value.model={:?}", text(copy.path()));
    fails(
        &["train", &config, "--set", &set],
        &["quantised weights (AWQ, 4 bits, groups of 128)", "value.lora", "ivl convert MODEL --to hf"],
    );
}

#[test]
fn an_index_that_leads_out_of_its_directory() {
    let copy = copy_of("small");
    std::fs::remove_file(copy.path().join("model.safetensors")).expect("removes");
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."] {
        let index = serde_json::json!({ "weight_map": { "model.norm.weight": name } });
        std::fs::write(copy.path().join("model.safetensors.index.json"), index.to_string()).expect("writes");
        fails(&generate(text(copy.path()), "x"), &["names the shard", name, "in the same directory"]);
    }
}

#[test]
fn a_tokenizer_that_does_not_match_the_weights() {
    let copy = copy_of("small");
    let other =
        run::repository().join("crates/ivl-models/tests/fixtures/tokenizers/byte_level/tokenizer.json");
    std::fs::copy(other, copy.path().join("tokenizer.json")).expect("copies");
    fails(&generate(text(copy.path()), "x"), &["does not match the weights", "token id 384", "vocab_size"]);
}

#[test]
fn a_value_of_another_vocabulary() {
    let copy = copy_of("small");
    edit(&copy.path().join("tokenizer.json"), |tokenizer| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
        vocab.insert("!".to_owned(), 3.into());
        vocab.insert("\"".to_owned(), 2.into());
    });
    let base = base("large");
    let mut args = generate(&base, "x");
    args.extend(["--value", text(copy.path())]);
    fails(&args, &["vocabulary is not the base's", "2 of 384 ids differ", "first id 2", "ivl align"]);
    let mut draft = generate(&base, "x");
    draft.extend(["--draft", text(copy.path())]);
    fails(
        &draft,
        &["cannot draft with", "the draft's vocabulary is not the target's", "2 of 384 ids differ"],
    );
}

#[test]
fn prompts_that_cannot_be_continued() {
    let small = base("small");
    // A text may begin with a token of the tokenizer's own; where it does not, an empty one cannot be continued.
    ok(&generate(&small, ""));
    let copy = copy_of("small");
    edit(&copy.path().join("tokenizer.json"), |tokenizer| {
        tokenizer["post_processor"] = serde_json::Value::Null;
    });
    fails(&generate(text(copy.path()), ""), &["the prompt is empty", "--prompt-file"]);
    let long = "a b c d ".repeat(100);
    fails(&generate(&small, &long), &["the prompt has", "holds 256"]);
    fails(&["score", "--base", &small, "--text", &long], &["the text has", "holds 256"]);
    fails(&["generate", "--base", &small, "--messages", "absent.json"], &["absent.json"]);
    let dir = tempfile::tempdir().expect("dir");
    let messages = dir.path().join("messages.json");
    std::fs::write(&messages, "[{\"role\": \"user\", \"content\": \"hi\"}]").expect("writes");
    fails(
        &["generate", "--base", &small, "--messages", text(&messages)],
        &["has a chat template", "--prompt"],
    );
    std::fs::write(&messages, "{\"role\": 3}").expect("writes");
    fails(
        &["generate", "--base", &small, "--messages", text(&messages)],
        &["is not a JSON list of messages"],
    );
}

#[test]
fn options_that_mean_nothing() {
    let small = base("small");
    let with = |option: &[&str], parts: &[&str]| {
        let mut args = generate(&small, "x");
        args.extend(option);
        fails(&args, parts);
    };
    with(&["--temperature=-1"], &["`temperature` is -1"]);
    with(&["--top-p", "0"], &["`top_p` is 0"]);
    with(&["--logit-bias", "x"], &["--logit-bias is `x`"]);
    with(&["--logit-bias", "9999=1"], &["token id 9999"]);
    with(&["--value", "nowhere:abc"], &["--value is `nowhere:abc`"]);
    with(&["--device", "tpu"], &["the device is `tpu`, expected auto, cpu"]);
    with(&["--device", "cuda"], &["without CUDA"]);
    with(&["--device", "wgpu"], &["without wgpu"]);
    // Usage that clap refuses is exit status 2.
    for args in [
        &["generate", "--base", "x"][..],
        &["score"],
        &["nonsense"],
        &["generate", "--prompt", "x", "--top-k", "y"],
    ] {
        assert_eq!(command(args).output().expect("starts").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn data_with_a_broken_line() {
    let dir = tempfile::tempdir().expect("dir");
    let data = dir.path().join("rows.jsonl");
    let config = train_config(dir.path(), "");
    let set = format!("data.train=[{:?}]", text(&data));
    let refused = |rows: &str, parts: &[&str]| {
        std::fs::write(&data, rows).expect("writes");
        fails(&["train", &config, "--set", &set], parts);
        assert!(!dir.path().join("value/config.json").exists());
    };
    refused(
        "{\"text\": \"fine\"}\n{\"text\": \"cut\n",
        &["line 2 of `", "rows.jsonl", "is not a JSON object"],
    );
    refused(
        "{\"text\": \"fine\"}\n\n{\"prompt\": \"p\"}\n",
        &["line 3 of `", "rows.jsonl", "nothing in `text`", "format text"],
    );
    refused("", &["rows.jsonl` holds no rows"]);
    std::fs::write(&data, "{\"prompt\": \"too long\", \"completion\": \"x\"}").expect("writes");
    let cut = ["train", &config, "--set", &set, "--set", "data.max_length=2"];
    fails(&cut, &["no trained token is left in data.train: 1 rows were read, 1 lost all"]);
    refused("{\"question\": \"q\"}", &["line 1 of `", "[\"question\"]", "columns = {"]);
    refused(
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}",
        &["line 1 of", "no chat template"],
    );
    std::fs::write(&data, "{\"text\": 1}\n").expect("writes");
    fails(&["score", "--base", &base("small"), "--file", text(&data)], &["line 1 of", "has no text"]);
}

#[test]
fn configurations_of_training_that_mean_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    let set = |set: &str, parts: &[&str]| fails(&["train", &config, "--set", set], parts);
    set(
        "optimizer.learning_rat=1",
        &["unknown key `optimizer.learning_rat`; did you mean `optimizer.learning_rate`?"],
    );
    set("optimizer.learning_rate=-1", &["`optimizer.learning_rate` is -1", "0 or more"]);
    set("steps.batch_size=0", &["`steps.batch_size` is 0"]);
    set("seed", &["--set is `seed`", "KEY=VALUE"]);
    set("eval.bases=['x']", &["`data.eval` is not set: `eval.bases` are evaluated on held-out data"]);
    set("value.overrides.hidden_size=64", &["value.overrides"]);
    fails(&["train", &config, "--resume"], &["no complete checkpoint", "start without --resume"]);
}

#[test]
fn an_output_that_cannot_be_written() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").expect("writes");
    let set = format!("output={:?}", text(&file.join("value")));
    fails(&["train", &config, "--set", &set], &["cannot create `", "file/value"]);
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), "in the way");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    // Files beyond 32 KiB cannot be written: the weights do not fit, the small files do.
    let script = format!("trap '' XFSZ; ulimit -f 64; exec {:?} train {config:?}", env!("CARGO_BIN_EXE_ivl"));
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", run::stderr(&output));
    assert!(run::stderr(&output).contains("error: "), "{}", run::stderr(&output));
    assert!(!run::stderr(&output).contains("panicked"), "{}", run::stderr(&output));
    let mut left = Vec::new();
    files(dir.path(), &mut left);
    assert!(
        left.iter().all(|name| !name.ends_with(".partial") && !name.ends_with("safetensors")),
        "{left:?}"
    );
    assert!(!left.iter().any(|name| name.ends_with("complete.toml")), "{left:?}");
    assert!(!dir.path().join("value/config.json").exists());
    // The rest is recognised as unfinished, and does not block a new output.
    let value = dir.path().join("value");
    fails(&generate(text(&value), "x"), &["holds an unfinished training run", "--resume"]);
    ok(&["train", &config, "--resume", "--quiet"]);
    assert!(value.join("config.json").exists(), "with room on the disk the run begins again");
}

fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("reads") {
        let path = entry.expect("entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path.display().to_string()) }
    }
}

#[test]
fn a_trained_value_is_not_overwritten() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    ok(&["train", &config, "--quiet"]);
    let before = std::fs::read(dir.path().join("value/model.safetensors")).expect("reads");
    fails_with(
        &command(&["train", &config]).output().expect("starts"),
        &["already holds a trained model", "--resume"],
    );
    assert_eq!(std::fs::read(dir.path().join("value/model.safetensors")).expect("reads"), before);
}

/// Weights that cannot be loaded show that the refusal comes first.
#[test]
fn texts_are_refused_before_weights_are_read() {
    let broken = copy_of("small");
    let no_tensors = [&2_u64.to_le_bytes()[..], b"{}"].concat();
    std::fs::write(broken.path().join("model.safetensors"), no_tensors).expect("writes");
    edit(&broken.path().join("tokenizer.json"), |json| json["post_processor"] = serde_json::Value::Null);
    let (broken, small) = (text(broken.path()), base("small"));
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).expect("writes");
        text(&dir.path().join(name)).to_owned()
    };
    let long = "Suna lives in ".repeat(2000);
    let prompt = file("prompt.txt", &long);
    let texts = file("texts.jsonl", &serde_json::json!({ "text": long }).to_string());
    let row = file("rows.jsonl", &serde_json::json!({ "prompt": "Suna", "completion": long }).to_string());
    let messages =
        file("messages.json", &serde_json::json!([{ "role": "user", "content": long }]).to_string());
    let template = file("t.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    let too_long = "context of";
    let value = ["--value", small.as_str()];
    let calls: [(&[&str], &str); 11] = [
        (&["generate", "--prompt-file", &prompt], too_long),
        (&["generate", "--prompt", ""], "empty"),
        (&["generate", "--messages", &messages, "--chat-template", &template], too_long),
        (&["score", "--text", &long], too_long),
        (&["score", "--text", ""], "empty"),
        (&["score", "--file", &texts], too_long),
        (&["score", "--file", &row], too_long),
        (&["explain", "--file", &row, value[0], value[1]], too_long),
        (&["explain", "--text", &long, value[0], value[1]], too_long),
        (&["explain", "--prompt", &long, value[0], value[1]], too_long),
        (&["explain", "--messages", &messages, "--chat-template", &template, value[0], value[1]], too_long),
    ];
    for (call, message) in calls {
        let mut args = call.to_vec();
        args.extend(["--base", broken]);
        fails(&args, &[message]);
    }
    fails(&["generate", "--base", broken, "--prompt", "Suna"], &["embed_tokens"]);
}

#[test]
fn options_that_are_about_nothing_are_refused_or_noted() {
    let (small, large) = (base("small"), base("large"));
    let generate = |more: &[&str]| {
        let mut args = vec!["generate", "--base", &small, "--prompt", "Suna", "--max-new-tokens", "1"];
        args.extend(more);
        command(&args).output().expect("runs")
    };
    for option in ["--map", "--byte-fusion"] {
        fails_with(&generate(&[option, "hybrid"]), &[option, "--value"]);
    }
    for more in [["--unseen", "0.1"], ["--branches", "3"], ["--draft-tokens", "4"], ["--draft-dtype", "f32"]]
    {
        let output = generate(&more);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }
    for (more, option) in [
        (&["--value", &large, "--map", "hybrid"][..], "--map"),
        (&["--top-p", "0.9"], "--top-p"),
        (&["--top-k", "5"], "--top-k"),
        (&["--min-p", "0.1"], "--min-p"),
        (&["--n", "2"], "--temperature"),
    ] {
        let output = generate(more);
        let noted = stderr(&output);
        assert!(output.status.success() && noted.contains("note: ") && noted.contains(option), "{noted}");
        let quiet = generate(&[more, &["--quiet"]].concat());
        assert!(quiet.stderr.is_empty(), "{}", stderr(&quiet));
    }
    assert!(generate(&["--top-p", "0.9", "--temperature", "1"]).stderr.is_empty());
}
