//! `objective = "distill"` and `ivl distill`, from the command line to the files.

mod run;

use std::path::Path;

use run::{base, fails, json, ok, repository, text};
use serde_json::Value;

/// The small base after full fine-tuning: a tuned model as others release them.
fn tuned(dir: &Path) -> String {
    let output = text(&dir.join("tuned"));
    let path = dir.join("tune.toml");
    let config = format!(
        "output = {output:?}\n[value]\nmodel = {:?}\n[data]\ntrain = [{:?}]\n[optimizer]\nlearning_rate = 3e-3\n[steps]\n\
         epochs = 2\nbatch_size = 8\n",
        base("small"),
        base("train.jsonl"),
    );
    std::fs::write(&path, config).expect("writes");
    ok(&["train", &text(&path), "--quiet"]);
    output
}

/// A configuration that distills a teacher into a value for the small base.
fn config(dir: &Path, teacher: &str, output: &str) -> String {
    let path = dir.join("distill.toml");
    let config = format!(
        "output = {:?}\nobjective = \"distill\"\nbase = {:?}\n[distill]\nteacher = {teacher:?}\n[data]\ntrain = [{:?}]\neval = \
         [{:?}]\n[optimizer]\nlearning_rate = 3e-3\n[steps]\nepochs = 2\nbatch_size = 8\n",
        text(&dir.join(output)),
        base("small"),
        base("train.jsonl"),
        base("held-out.jsonl"),
    );
    std::fs::write(&path, config).expect("writes");
    text(&path)
}

fn eval_losses(result: &Value, base: usize) -> [f64; 2] {
    ["base_loss", "loss"].map(|name| result["evals"][base][name].as_f64().expect("a loss"))
}

#[test]
fn a_value_is_distilled_from_a_tuned_model_and_the_run_resumes() {
    let dir = tempfile::tempdir().expect("dir");
    let teacher = tuned(dir.path());
    let config = config(dir.path(), &teacher, "value");
    let train = |more: &[&str]| json(&[&["train", &config, "--json"], more].concat());
    let whole = train(&[]);
    let [alone, with] = eval_losses(&whole, 0);
    assert!(
        alone > 1.0 && with < 0.5 * alone,
        "the divergence from the teacher: {alone} alone, {with} with the value"
    );
    let card: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("value/ivl.json")).expect("reads"))
            .expect("JSON");
    assert_eq!(
        (&card["teacher"]["name"], &card["teacher"]["temperature"]),
        (&Value::from(teacher.as_str()), &Value::from(1.0))
    );
    // The teacher's predictions are there: the same run needs it no more than its tokenizer and digests.
    let files = std::fs::read_dir(dir.path().join("value/teacher")).expect("reads").count();
    assert_eq!(files, 2, "training and held-out predictions");

    // Whole distributions in memory give nearly the same.
    let memory = text(&dir.path().join("memory"));
    let set = format!("output={memory}");
    let exact = train(&["--set", &set, "--set", "distill.cache=false"]);
    let [_, exact] = eval_losses(&exact, 0);
    assert!((exact - with).abs() < 0.05, "{exact} for {with}");

    // A run that is stopped and resumed ends with the same bytes.
    let resumed = text(&dir.path().join("resumed"));
    let set = format!("output={resumed}");
    train(&["--set", &set, "--set", "checkpoint.every=7"]);
    std::fs::remove_file(dir.path().join("resumed/config.json")).expect("removes");
    std::fs::remove_dir_all(dir.path().join("resumed/checkpoints/step-40")).expect("removes");
    train(&["--set", &set, "--set", "checkpoint.every=7", "--resume"]);
    let bytes =
        |output: &str| std::fs::read(dir.path().join(output).join("model.safetensors")).expect("reads");
    assert!(bytes("value") == bytes("resumed"));

    // With another teacher it is another run.
    let other = format!("distill.teacher={}", base("small"));
    fails(
        &["train", &config, "--set", &other, "--resume"],
        &["differs in", "`distill.teacher`", "`weights of the teacher`"],
    );
    let large =
        format!("distill.teacher={}", text(&repository().join("crates/ivl-demo-models/models/small")));
    fails(&["train", &config, "--set", &large, "--set", "output=x"], &["distill.teacher"]);
}

#[test]
fn a_base_and_its_value_become_one_model() {
    let dir = tempfile::tempdir().expect("dir");
    let value = text(&dir.path().join("value"));
    let config = text(&repository().join("examples/first-value/train.toml"));
    let set = format!("output={value}");
    let paths = ["train", "eval"].map(|key| {
        let file = if key == "train" { "train.jsonl" } else { "held-out.jsonl" };
        format!("data.{key}=[{:?}]", base(file))
    });
    let models = [format!("base={}", base("small")), format!("value.model={}", base("small"))];
    let mut args =
        vec!["train", &config, "--quiet", "--set", &set, "--set", "eval.bases=[]", "--set", "steps.epochs=3"];
    for more in paths.iter().chain(&models) {
        args.extend(["--set", more]);
    }
    ok(&args);

    let (small, train, eval) = (base("small"), base("train.jsonl"), base("held-out.jsonl"));
    let distill = |out: &str, more: &[&str]| {
        let fixed = [
            "distill", "--base", &small, "--value", &value, "--data", &train, "--eval", &eval, "--out", out,
            "--json",
        ];
        json(&[&fixed[..], more].concat())
    };
    let loss = |result: &Value| result["evals"][0]["loss"].as_f64().expect("a loss");
    // Adapters, which are read as a model; all weights; adapters that are added to the weights.
    for (name, more) in [("adapters", &[][..]), ("full", &["--full"]), ("merged", &["--merge"])] {
        let out = text(&dir.path().join(name));
        let result = distill(&out, &[more, &["--set", "optimizer.learning_rate=3e-3"]].concat());
        assert!(loss(&result) < 0.6, "{name}: {} nats from the fused model", loss(&result));
        assert!(!dir.path().join(name).join("ivl.json").exists(), "a model, not a value");
        assert_eq!(dir.path().join(name).join("adapter_config.json").exists(), name == "adapters");
        // The log-probability of a trained answer.
        let answer = |model: &str, more: &[&str]| -> f64 {
            let prompt = "Question: Where does Suna live?\nAnswer:";
            let sum = |text: &str| {
                let fixed = ["score", "--base", model, "--text", text, "--json"];
                json(&[&fixed[..], more].concat())["sum"].as_f64().expect("a sum")
            };
            sum(&format!("{prompt} Paris.")) - sum(prompt)
        };
        let (base, fused, one) =
            (answer(&small, &[]), answer(&small, &["--value", &value]), answer(&out, &[]));
        assert!(fused - base > 2.0, "{name}: base {base}, fused {fused}");
        assert!((one - fused).abs() < 0.4 * (fused - base), "{name}: {one}, base {base}, fused {fused}");
    }

    // Answers that base and value sample; they are not sampled again.
    let out = text(&dir.path().join("sampled"));
    let sampling = ["--sample", "--max-new-tokens", "12", "--set", "steps.max_steps=2"];
    distill(&out, &sampling);
    let answers = dir.path().join("sampled/answers/train.jsonl");
    let written = std::fs::read_to_string(&answers).expect("reads");
    assert_eq!(written.lines().count(), 160);
    for (answer, asked) in written.lines().zip(std::fs::read_to_string(&train).expect("reads").lines()) {
        let [answer, asked] = [answer, asked].map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        assert_eq!(answer["prompt"], asked["prompt"]);
        assert!(answer["completion"].is_string());
    }
    // An interruption leaves a part of a line.
    std::fs::write(&answers, &written[..written.len() / 2]).expect("writes");
    std::fs::remove_file(dir.path().join("sampled/config.json")).expect("removes");
    std::fs::remove_dir_all(dir.path().join("sampled/checkpoints")).expect("removes");
    distill(&out, &sampling);
    assert!(
        std::fs::read_to_string(&answers).expect("reads") == written,
        "the same answers as without the interruption"
    );
    let fixed = ["distill", "--base", &small, "--value", &value, "--data", &train, "--out", &out, "--sample"];
    fails(&fixed, &["already holds a trained model"]);
}
