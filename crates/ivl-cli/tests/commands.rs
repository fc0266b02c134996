//! The verbs, run as a user would run them.

mod run;

use run::{base, command, json, ok, text, train_config};
use serde_json::Value;

#[test]
fn generate_is_greedy_by_default_and_reproducible_when_it_draws() {
    let small = base("small");
    let greedy =
        ["generate", "--base", &small, "--prompt", "Suna lives in", "--max-new-tokens", "6", "--json"];
    let first = json(&greedy);
    assert_eq!((&first["text"], &first["ids"]), (&json(&greedy)["text"], &json(&greedy)["ids"]));
    assert_eq!(
        first["ids"].as_array().expect("ids").len(),
        first["completion_tokens"].as_u64().expect("a number") as usize
    );
    assert!(first["prompt_tokens"].as_u64() > Some(3) && first["tokens_per_second"].as_f64() > Some(0.0));
    assert_eq!(first["finish_reason"], "length");
    assert_eq!(ok(&greedy[..greedy.len() - 1]), format!("{}\n", first["text"].as_str().expect("text")));

    let draw = |seed: &str| {
        let mut args = greedy.to_vec();
        args.extend(["--temperature", "1.5", "--top-k", "50", "--top-p", "0.99", "--seed", seed]);
        json(&args)["ids"].clone()
    };
    assert_eq!(draw("3"), draw("3"));
    assert!((0..20).any(|seed| draw(&seed.to_string()) != draw("3")));
}

#[test]
fn a_draft_is_counted_and_changes_nothing() {
    let (small, large) = (base("small"), base("large"));
    let args = [
        "generate",
        "--base",
        &large,
        "--prompt",
        "Suna lives in Oslo. Suna lives",
        "--max-new-tokens",
        "40",
        "--ignore-eos",
        "--n",
        "2",
        "--temperature",
        "0.7",
        "--repetition-penalty",
        "1.05",
        "--seed",
        "3",
        "--json",
    ];
    let lines = |more: &[&str]| -> Vec<Value> {
        let all: Vec<&str> = args.iter().chain(more).copied().collect();
        ok(&all).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let plain = lines(&[]);
    for draft in [&["--draft", small.as_str()][..], &["--draft", "prompt-lookup:2", "--draft-tokens", "3"]] {
        let ours = lines(draft);
        for (ours, plain) in ours.iter().zip(&plain) {
            assert_eq!((&ours["ids"], &ours["text"]), (&plain["ids"], &plain["text"]));
            let counted = |name: &str| ours["speculative"][name].as_u64().expect("a number");
            assert!(counted("drafted") > 0 && counted("accepted") <= counted("drafted"), "{ours}");
            // The prompt gives the first token of each answer, every pass one more than was accepted.
            assert_eq!(counted("rounds") + counted("accepted"), 78, "{ours}");
        }
    }
    assert!(plain[0].get("speculative").is_none());
}

#[test]
fn several_answers_are_json_lines_and_stop_strings_cut() {
    let small = base("small");
    let args = ["generate", "--base", &small, "--prompt", "Suna", "--n", "3", "--temperature", "1", "--json"];
    let lines: Vec<Value> = ok(&args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        lines.iter().map(|line| line["index"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    let stopped = json(&["generate", "--base", &small, "--prompt", "Suna lives", "--stop", ".", "--json"]);
    assert_eq!(stopped["finish_reason"], "stop");
    assert!(!stopped["text"].as_str().expect("text").contains('.'));
}

#[test]
fn score_reports_every_token_and_alpha_zero_is_the_base() {
    let (small, large) = (base("small"), base("large"));
    let text = "Suna lives in Oslo. Ünïcode ☃";
    let alone = json(&["score", "--base", &large, "--text", text, "--json"]);
    let count = alone["ids"].as_array().expect("ids").len();
    assert_eq!(alone["tokens"].as_array().expect("tokens").len(), count);
    let logprobs = alone["logprobs"].as_array().expect("logprobs");
    assert!(logprobs[0].is_null() && logprobs[1..].iter().all(Value::is_number));
    let sum: f64 = logprobs.iter().filter_map(Value::as_f64).sum();
    assert!((sum - alone["sum"].as_f64().expect("sum")).abs() < 1e-9);
    let perplexity = (-sum / (count - 1) as f64).exp();
    assert!((perplexity - alone["perplexity"].as_f64().expect("perplexity")).abs() < 1e-9);

    let value = format!("{small}:0");
    let zero = json(&["score", "--base", &large, "--value", &value, "--text", text, "--json"]);
    assert_eq!(zero, alone, "alpha 0 is the base to the last bit");
    let half =
        json(&["score", "--base", &large, "--value", &format!("{small}:0.5"), "--text", text, "--json"]);
    assert_ne!(half["sum"], alone["sum"]);
}

#[test]
fn score_reads_files_in_batches_and_keeps_the_order() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("texts.jsonl");
    std::fs::write(
        &file,
        "{\"text\":\"Suna has a cat.\"}\n\"Tara\"\n\n{\"text\":\"Jomas works as a baker.\"}\n",
    )
    .expect("writes");
    let small = base("small");
    let args = ["score", "--base", &small, "--file", &text(&file), "--json", "--batch-size", "2"];
    let lines: Vec<Value> = ok(&args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    for (line, text) in lines.iter().zip(["Suna has a cat.", "Tara", "Jomas works as a baker."]) {
        let alone = json(&["score", "--base", &small, "--text", text, "--json"]);
        assert_eq!(line["ids"], alone["ids"]);
        assert!((line["sum"].as_f64().expect("sum") - alone["sum"].as_f64().expect("sum")).abs() < 1e-4);
    }
}

#[test]
fn score_reads_what_train_reads_and_gives_the_loss_of_responses() {
    let (small, held_out) = (base("small"), base("held-out.jsonl"));
    let args = ["score", "--base", &small, "--file", &held_out, "--json"];
    let lines: Vec<Value> = ok(&args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (total, rows) = lines.split_last().expect("a total");
    let predicted =
        |row: &Value| row["logprobs"].as_array().expect("logprobs").iter().filter(|p| p.is_number()).count();
    assert_eq!(total["total"]["rows"], rows.len());
    assert_eq!(total["total"]["tokens"], rows.iter().map(predicted).sum::<usize>());
    assert!(
        rows.iter().all(|row| predicted(row) < row["ids"].as_array().expect("ids").len() - 1),
        "no prompt is scored"
    );
    // The held-out loss of training, on the base alone.
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    let eval = format!("data.eval=[{held_out:?}]");
    let trained = json(&["train", &config, "--json", "--quiet", "--set", &eval]);
    let alone = trained["evals"][0]["base_loss"].as_f64().expect("a loss");
    assert!((total["total"]["loss"].as_f64().expect("a loss") - alone).abs() < 1e-4, "{total} {alone}");
}

#[test]
fn draws_differ_without_a_seed_and_chat_follows_the_model() {
    let copy = run::copy_of("small");
    let model = text(copy.path());
    let draw = |more: &[&str]| {
        let mut args =
            vec!["generate", "--base", &model, "--prompt", "Suna", "--max-new-tokens", "12", "--json"];
        args.extend(more);
        json(&args)
    };
    let drawn: Vec<Value> = (0..4).map(|_| draw(&["--temperature", "2"])).collect();
    assert!(drawn.iter().any(|other| other["ids"] != drawn[0]["ids"]), "{drawn:?}");
    let seed = drawn[0]["seed"].to_string();
    assert_eq!(draw(&["--temperature", "2", "--seed", &seed])["ids"], drawn[0]["ids"], "the seed is told");
    assert_eq!(draw(&[])["seed"], Value::Null, "greedy decoding draws nothing");
    let settings = r#"{"do_sample": true, "temperature": 50.0}"#;
    std::fs::write(copy.path().join("generation_config.json"), settings).expect("writes");
    let talk = |more: &[&str]| {
        let mut args = vec!["chat", "--base", &model, "--plain", "--max-new-tokens", "12", "--json"];
        args.extend(more);
        let mut child = command(&args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"Suna lives in\n")
            .expect("writes");
        let output = child.wait_with_output().expect("ends");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["ids"].clone()
    };
    assert_ne!(
        talk(&["--seed", "1"]),
        talk(&["--temperature", "0"]),
        "the model asks for a high temperature"
    );
    assert_eq!(talk(&["--seed", "1"]), talk(&["--seed", "1"]));
}

#[test]
fn a_value_is_trained_inspected_plugged_in_and_scored() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.01\nbase_dropout = 0.5");
    let (held_out, large) = (base("held-out.jsonl"), base("large"));
    let report = json(&[
        "train",
        &config,
        "--json",
        "--quiet",
        "--set",
        "optimizer.learning_rate=3e-3",
        "--set",
        "steps.max_steps=40",
        "--set",
        "steps.batch_size=8",
        // These bases know nothing of the form of an answer: a small start would leave too much to learn in forty steps.
        "--set",
        "value.initial_scale=1.0",
        "--set",
        &format!("data.eval=[{held_out:?}]"),
        "--set",
        &format!("eval.bases=[{large:?}]"),
    ]);
    assert_eq!(report["steps"], 40);
    let evals = report["evals"].as_array().expect("evals");
    assert_eq!(evals.len(), 2);
    for eval in evals {
        let (alone, with) = (eval["base_loss"].as_f64().expect("loss"), eval["loss"].as_f64().expect("loss"));
        assert!(with < alone - 0.5, "the value lifts {}: {alone} to {with}", eval["base"]);
    }

    let value = text(&dir.path().join("value"));
    let card = &json(&["inspect", &value, "--json"])["card"];
    assert_eq!(
        (&card["connection"], &card["steps"], &card["rows"]),
        (&"residual".into(), &40.into(), &160.into())
    );
    assert_eq!(card["bases"][0]["name"], base("small"));
    let question = "Question: Where does Suna live?\nAnswer:";
    let with = json(&[
        "generate",
        "--base",
        &large,
        "--value",
        &value,
        "--prompt",
        question,
        "--max-new-tokens",
        "8",
        "--json",
    ]);
    assert_eq!(with["finish_reason"], "stop", "the value ends an answer: {with}");
    let metrics = std::fs::read_to_string(dir.path().join("value/metrics.jsonl")).expect("metrics");
    assert_eq!(metrics.lines().filter(|line| line.contains("\"kind\":\"step\"")).count(), 40);
}

#[test]
fn a_run_resumes_and_a_model_trains_by_itself() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "");
    let alone = text(&dir.path().join("alone"));
    // Without a base: a smaller model, from noise, on plain text.
    let rows = dir.path().join("rows.jsonl");
    std::fs::write(&rows, "{\"text\": \"Suna has a cat.\"}\n".repeat(8)).expect("writes");
    let toml = std::fs::read_to_string(&config).expect("reads");
    let lines: Vec<&str> = toml.lines().filter(|line| !line.starts_with("base =")).collect();
    std::fs::write(&config, lines.join("\n")).expect("writes");
    let sets = [
        format!("output={alone:?}"),
        "value.init=random".to_owned(),
        "value.overrides.num_hidden_layers=1".to_owned(),
        format!("data.train=[{:?}]", text(&rows)),
        "checkpoint.every=2".to_owned(),
    ];
    let mut args = vec!["train", &config, "--quiet"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    ok(&args);
    let inspected = json(&["inspect", &alone, "--json"]);
    assert_eq!((&inspected["architecture"]["layers"], &inspected["card"]), (&1.into(), &Value::Null));
    // The last checkpoint is lost; the run goes on from the one before and ends in the same bytes.
    let weights = || std::fs::read(dir.path().join("alone/model.safetensors")).expect("reads");
    let before = weights();
    std::fs::remove_dir_all(dir.path().join("alone/checkpoints/step-4")).expect("removes");
    args.push("--resume");
    ok(&args);
    assert_eq!(weights(), before);
}

#[test]
fn a_cascade_value_is_recognised_by_its_card() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.01");
    let (held_out, large, small) = (base("held-out.jsonl"), base("large"), base("small"));
    let sets = [
        "value.connection=cascade-text".to_owned(),
        "optimizer.learning_rate=3e-3".to_owned(),
        "steps.max_steps=30".to_owned(),
        "steps.batch_size=8".to_owned(),
        format!("data.eval=[{held_out:?}]"),
        format!("eval.bases=[{large:?}]"),
    ];
    let mut args = vec!["train", &config, "--json", "--quiet"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let report = json(&args);
    let home = &report["evals"][0];
    assert!(home["loss"].as_f64() < home["base_loss"].as_f64().map(|loss| loss - 0.5), "{report}");
    let value = text(&dir.path().join("value"));
    assert_eq!(json(&["inspect", &value, "--json"])["card"]["connection"], "cascade-text");

    // It changes a text as training measured, not as its weights would as a residual value.
    let row: Value = serde_json::from_str(
        std::fs::read_to_string(&held_out).expect("reads").lines().next().expect("a row"),
    )
    .expect("JSON");
    let whole =
        format!("{}{}", row["prompt"].as_str().expect("prompt"), row["completion"].as_str().expect("text"));
    let sum = |value: &str| {
        let args = ["score", "--base", &small, "--value", value, "--text", &whole, "--json"];
        json(&args)["sum"].as_f64().expect("sum")
    };
    let alone = json(&["score", "--base", &small, "--text", &whole, "--json"])["sum"].as_f64().expect("sum");
    assert!((sum(&format!("{value}:0")) - alone).abs() < 1e-6);
    assert_ne!(sum(&value), alone);
}

#[test]
fn adapters_share_the_base_and_are_merged_on_request() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.0");
    let (held_out, large) = (base("held-out.jsonl"), base("large"));
    let sets = [
        "value.lora.rank=4".to_owned(),
        "optimizer.learning_rate=1e-2".to_owned(),
        "steps.max_steps=40".to_owned(),
        format!("data.eval=[{held_out:?}]"),
    ];
    let mut args = vec!["train", &config, "--json", "--quiet"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let eval = &json(&args)["evals"][0];
    assert!(eval["loss"].as_f64() < eval["base_loss"].as_f64().map(|loss| loss - 0.5), "{eval}");
    // The directory has only adapters; they work with the base that they were trained on, and with others.
    let value = text(&dir.path().join("value"));
    let files = |name: &str| dir.path().join(name).join("model.safetensors").exists();
    assert!(!files("value"));
    let sum = |base: &str, value: &str| {
        let args = ["score", "--base", base, "--value", value, "--text", "Suna has a cat.", "--json"];
        json(&args)["sum"].as_f64().expect("sum")
    };
    args.extend(["--set", "value.lora.merge=true", "--set"]);
    let merged = text(&dir.path().join("merged"));
    let output = format!("output={merged:?}");
    args.push(&output);
    ok(&args);
    assert!(files("merged"));
    for base in [base("small"), large] {
        assert!((sum(&base, &value) - sum(&base, &merged)).abs() < 1e-3);
    }
    // Adapters are inspected, measured and trained further like any other model.
    let inspected = json(&["inspect", &value, "--json"]);
    assert_eq!(
        (&inspected["adapters"]["rank"], &inspected["adapters"]["base"]),
        (&4.into(), &base("small").into())
    );
    assert!(
        inspected["parameters"].as_u64()
            < json(&["inspect", &base("small"), "--json"])["parameters"].as_u64()
    );
    let quick =
        ["--measure", "decode", "--rows", "1", "--rounds", "1", "--tokens", "2", "--context", "4", "--json"];
    let mut bench = vec!["bench", value.as_str()];
    bench.extend(quick);
    assert!(json(&bench)["tokens_per_second"].as_f64() > Some(0.0));
    let further = text(&dir.path().join("further"));
    let sets = [
        format!("output={further:?}"),
        format!("value.model={value:?}"),
        "value.lora.rank=4".to_owned(),
        "steps.max_steps=1".to_owned(),
        "optimizer.learning_rate=0".to_owned(),
    ];
    let mut continued = vec!["train", &config, "--quiet"];
    continued.extend(sets.iter().flat_map(|set| ["--set", set]));
    ok(&continued);
    assert_eq!(sum(&base("small"), &further), sum(&base("small"), &value), "a run at rate 0 changes nothing");
    assert_eq!(json(&["inspect", &further, "--json"])["adapters"]["base"], base("small"));
    let trained = text(&dir.path().join("trained"));
    let at_a_rate = [format!("output={trained:?}"), "optimizer.learning_rate=1e-2".to_owned()];
    let mut trains = continued.clone();
    trains.extend(at_a_rate.iter().flat_map(|set| ["--set", set]));
    ok(&trains);
    assert_ne!(
        sum(&base("small"), &trained),
        sum(&base("small"), &value),
        "a run at a rate trains the adapters"
    );
    let refused = format!("output={:?}", dir.path().join("refused").display().to_string());
    continued.extend(["--set", "value.lora.rank=8", "--set", &refused]);
    run::fails(&continued, &["holds adapters of rank 4", "asks for rank 8"]);
    run::edit(&dir.path().join("value/adapter_config.json"), |config| {
        config["base_model_name_or_path"] = "gone".into();
    });
    let args = ["score", "--base", &base("large"), "--value", &value, "--text", "x"];
    run::fails(&args, &["holds adapters on `gone`", "neither a directory, a GGUF file nor a hub name"]);
}

#[test]
fn a_base_of_another_vocabulary_is_trained_against_through_a_map() {
    let other = run::copy_of("large");
    run::edit(&other.path().join("tokenizer.json"), |tokenizer| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
        vocab.insert("!".to_owned(), 3.into());
        vocab.insert("\"".to_owned(), 2.into());
    });
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.0");
    let toml = std::fs::read_to_string(&config).expect("reads");
    let lines: Vec<&str> = toml.lines().filter(|line| !line.starts_with("base =")).collect();
    let (small, other) = (base("small"), text(other.path()));
    let bases = |map: &str| format!("[[bases]]\nmodel = {small:?}\n[[bases]]\nmodel = {other:?}\n{map}");
    let held_out = base("held-out.jsonl");
    let sets = [
        "mixing.strategy=average".to_owned(),
        "optimizer.learning_rate=3e-3".to_owned(),
        "steps.max_steps=30".to_owned(),
        format!("data.eval=[{held_out:?}]"),
    ];
    let mut args = vec!["train", &config, "--json", "--quiet"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    std::fs::write(&config, lines.join("\n") + "\n" + &bases("")).expect("writes");
    run::fails(&args, &["the base `", "vocabulary is not the base's", "2 of 384 ids differ"]);
    std::fs::write(&config, lines.join("\n") + "\n" + &bases("map = \"hybrid\"\n")).expect("writes");
    let report = json(&args);
    for eval in report["evals"].as_array().expect("evals") {
        let (alone, with) = (eval["base_loss"].as_f64().expect("loss"), eval["loss"].as_f64().expect("loss"));
        assert!(with < alone - 0.5, "{eval}");
        assert!(eval["tokens"].as_u64() > Some(100));
    }
}

#[test]
fn logits_on_disk_replace_the_base() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.0");
    let held_out = base("held-out.jsonl");
    let cache = text(&dir.path().join("logits"));
    let loss = |name: &str, more: &[String]| {
        let mut sets = vec![
            "steps.max_steps=8".to_owned(),
            format!("data.eval=[{held_out:?}]"),
            format!("output={:?}", text(&dir.path().join(name))),
        ];
        sets.extend(more.iter().cloned());
        let mut args = vec!["train", &config, "--json", "--quiet"];
        args.extend(sets.iter().flat_map(|set| ["--set", set]));
        json(&args)["evals"][0]["loss"].as_f64().expect("loss")
    };
    let with_base = loss("plain", &[]);
    let cached = [format!("base_logits.dir={cache:?}"), "base_logits.top_k=0".to_owned()];
    assert!((loss("first", &cached) - with_base).abs() < 1e-4);
    let files = || std::fs::read_dir(&cache).expect("reads").count();
    assert_eq!(files(), 2, "one for each split");
    assert!((loss("again", &cached) - with_base).abs() < 1e-4);
    assert_eq!(files(), 2, "found, not made again");
}

#[test]
fn several_bases_share_the_training() {
    let dir = tempfile::tempdir().expect("dir");
    let config = train_config(dir.path(), "[regularization]\nl1 = 0.01");
    let toml = std::fs::read_to_string(&config).expect("reads");
    let lines: Vec<&str> = toml.lines().filter(|line| !line.starts_with("base =")).collect();
    let (small, large) = (base("small"), base("large"));
    let bases = format!("[[bases]]\nmodel = {small:?}\n[[bases]]\nmodel = {large:?}\nweight = 2.0\n");
    std::fs::write(&config, lines.join("\n") + "\n" + &bases).expect("writes");
    let held_out = base("held-out.jsonl");
    for strategy in ["sample", "average", "worst"] {
        let sets = [
            format!("mixing.strategy={strategy}"),
            format!("output={:?}", text(&dir.path().join(strategy))),
            "optimizer.learning_rate=3e-3".to_owned(),
            "steps.max_steps=30".to_owned(),
            format!("data.eval=[{held_out:?}]"),
        ];
        let mut args = vec!["train", &config, "--json", "--quiet"];
        args.extend(sets.iter().flat_map(|set| ["--set", set]));
        let report = json(&args);
        for eval in report["evals"].as_array().expect("evals") {
            let (alone, with) =
                (eval["base_loss"].as_f64().expect("loss"), eval["loss"].as_f64().expect("loss"));
            assert!(with < alone - 0.5, "{strategy}: {eval}");
        }
        let card = &json(&["inspect", &text(&dir.path().join(strategy)), "--json"])["card"];
        assert_eq!(card["bases"].as_array().map(Vec::len), Some(2));
        assert_eq!(card["regularization"]["mixing"]["strategy"], strategy);
    }
}

#[test]
fn help_of_every_verb_has_an_example() {
    for verb in ["train", "generate", "score", "inspect", "serve"] {
        assert!(ok(&[verb, "--help"]).contains("Example:"), "{verb}");
    }
    assert!(ok(&["--version"]).starts_with("ivl "));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (small, large, data) = (base("small"), base("large"), base("held-out.jsonl"));
    let (config, map) = (train_config(dir.path(), ""), text(&dir.path().join("map.safetensors")));
    let tasks = base("answers.toml");
    let calls: &[&[&str]] = &[
        &["align", "--from", &small, "--to", &large, "--out", &map],
        &["bench", &small, "--measure", "decode", "--rows", "1", "--rounds", "1", "--tokens", "2"],
        &["data", "preview", &config],
        &["eval", "--base", &small, "--tasks", &tasks, "--limit", "1", "--quiet"],
        &["explain", "--base", &small, "--value", &large, "--text", "Suna lives"],
        &["generate", "--base", &small, "--prompt", "Suna"],
        &["generate", "--base", &small, "--prompt", "Suna", "--n", "2", "--json"],
        &["inspect", &small],
        &["inspect", &small, "--json"],
        &["parity", &small],
        &["score", "--base", &small, "--text", "Suna", "--json"],
        &["transfer", "--value", &small, "--bases", &large, "--data", &data, "--limit", "2", "--no-answers"],
        &["train", &config],
        &["--help"],
    ];
    for call in calls {
        let mut child = command(call)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !message.contains("panicked"), "{call:?}: {message}");
    }
    assert!(dir.path().join("value/config.json").exists(), "the value is written all the same");
}
