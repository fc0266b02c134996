//! Runs are killed, torn, stopped and resumed; what comes out is what an uninterrupted run gives, bit for bit.

mod run;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use run::{base, command, ok, stderr, train_config};
use serde_json::Value;

const STEPS: usize = 48;

/// Settings of a run whose every second step writes a checkpoint and measures the held-out loss.
const SETTINGS: [&str; 5] = [
    "steps.max_steps=48",
    "steps.batch_size=2",
    "steps.accumulation=2",
    "checkpoint.every=2",
    "eval.every=2",
];

/// A run in a directory of its own.
struct Job {
    dir: tempfile::TempDir,
    config: String,
}

impl Job {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let config = train_config(dir.path(), "[optimizer]\nlearning_rate = 3e-3");
        let held_out = std::fs::read_to_string(base("held-out.jsonl")).expect("reads");
        let few = held_out.lines().take(6).collect::<Vec<_>>().join("\n");
        std::fs::write(dir.path().join("few.jsonl"), few).expect("writes");
        Self { dir, config }
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("value")
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let mut args = vec!["train".to_owned(), self.config.clone()];
        let eval = format!("data.eval=[{:?}]", self.dir.path().join("few.jsonl").display().to_string());
        for set in SETTINGS.iter().copied().chain([eval.as_str()]) {
            args.extend(["--set".to_owned(), set.to_owned()]);
        }
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args
    }

    fn run(&self, more: &[&str]) -> String {
        let args = self.args(more);
        ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn start(&self, more: &[&str]) -> Child {
        let args = self.args(more);
        let mut command = command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    }

    fn checkpoint(&self, step: usize) -> PathBuf {
        self.output().join(format!("checkpoints/step-{step}"))
    }

    /// The last step that has a line in the metrics.
    fn last_step(&self) -> u64 {
        let text = std::fs::read_to_string(self.output().join("metrics.jsonl")).unwrap_or_default();
        let steps =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["step"].as_u64());
        steps.max().unwrap_or(0)
    }
}

/// Lines of `metrics.jsonl` without what depends on the clock and the memory. Every line must be whole.
fn metrics(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("a whole line");
        line.as_object_mut()
            .expect("an object")
            .retain(|key, _| !["tokens_per_second", "memory"].contains(&key.as_str()));
        line
    };
    text.lines().map(line).collect()
}

fn card(output: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(output.join("ivl.json")).expect("card")).expect("JSON")
}

#[track_caller]
fn assert_same_result(got: &Path, expected: &Path) {
    assert_eq!(metrics(got), metrics(expected));
    let weights = |output: &Path| std::fs::read(output.join("model.safetensors")).expect("weights");
    assert!(weights(got) == weights(expected), "the weights differ");
    assert_eq!(card(got), card(expected));
}

fn is_partial(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        path.extension().is_some_and(|extension| extension == "partial") || path.is_dir() && is_partial(&path)
    })
}

fn kill(mut child: Child) {
    child.kill().expect("SIGKILL");
    child.wait().expect("ends");
}

#[test]
fn a_run_killed_at_random_moments_ends_as_if_nothing_had_happened() {
    let whole = Job::new();
    whole.run(&["--quiet"]);

    let killed = Job::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut kills = 0;
    loop {
        let mut child = killed.start(if kills == 0 { &[] } else { &["--resume"] });
        let mut running = || child.try_wait().expect("a state").is_none();
        let step = killed.last_step() + random.random_range(1..8);
        while running() && killed.last_step() < step {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..2000)));
        if !running() {
            break;
        }
        kill(child);
        kills += 1;
    }
    assert!(kills >= 2, "the run was over after {kills} kills");
    killed.run(&["--quiet", "--resume"]);
    assert_same_result(&killed.output(), &whole.output());
    assert_eq!(metrics(&killed.output()).iter().filter(|line| line["kind"] == "step").count(), STEPS);
}

#[test]
fn a_run_killed_between_the_files_of_a_checkpoint_ends_as_if_nothing_had_happened() {
    let whole = Job::new();
    whole.run(&["--quiet"]);

    let killed = Job::new();
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let (mut kills, mut midway) = (0, 0);
    loop {
        let args = killed.args(if kills == 0 { &[] } else { &["--resume"] });
        let mut command = command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        // More than the files of one checkpoint, so that every process makes progress.
        command.env("IVL_ABORT_AT_RENAME", random.random_range(8..24).to_string());
        if command.output().expect("starts").status.success() {
            break;
        }
        kills += 1;
        midway += usize::from(is_partial(&killed.output().join("checkpoints")));
    }
    assert!(midway >= 2, "{midway} of {kills} kills left a checkpoint half written");
    assert_same_result(&killed.output(), &whole.output());
}

#[test]
fn a_run_with_other_rows_is_refused_and_one_with_more_steps_is_extended() {
    let job = Job::new();
    job.run(&["--quiet", "--set", "steps.max_steps=4"]);
    let few = job.dir.path().join("few.jsonl");
    let rows = std::fs::read_to_string(&few).expect("reads");
    std::fs::write(&few, rows.lines().skip(1).collect::<Vec<_>>().join("\n")).expect("writes");
    let refused = |more: &[&str], part: &str| {
        let output =
            job.start(&[&["--set", "steps.max_steps=4"], more].concat()).wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    };
    refused(&["--resume"], "differs in `rows of data.eval`;");
    std::fs::write(&few, rows).expect("writes");
    refused(&["--resume", "--set", "steps.max_steps=6"], "differs in `steps.max_steps` (4, now 6);");
    refused(&["--resume", "--set", "optimizer.beta1=0.5"], "differs in `optimizer.beta1` (0.9, now 0.5);");
    job.run(&["--quiet", "--extend", "--set", "steps.max_steps=6"]);
    assert_eq!(job.last_step(), 6);
}

type Damage = fn(&Path);

#[test]
fn corrupt_checkpoints_are_skipped() {
    let (whole, torn) = (Job::new(), Job::new());
    whole.run(&["--quiet"]);
    torn.run(&["--quiet"]);

    // How the last checkpoint is damaged, and what the run says of it.
    let damages: [(Damage, &str); 4] = [
        (
            |dir| {
                let model = dir.join("model.bpk");
                let bytes = std::fs::read(&model).expect("reads");
                std::fs::write(&model, &bytes[..bytes.len() - 1]).expect("writes");
            },
            "`model.bpk` has",
        ),
        (
            |dir| {
                let optimizer = dir.join("optimizer.bpk");
                let mut bytes = std::fs::read(&optimizer).expect("reads");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&optimizer, bytes).expect("writes");
            },
            "`optimizer.bpk` does not have the SHA-256",
        ),
        (|dir| std::fs::remove_file(dir.join("complete.toml")).expect("removes"), "is missing"),
        (
            |dir| std::fs::write(dir.join("complete.toml"), "step = 48\nnonsense").expect("writes"),
            "`complete.toml` cannot be read",
        ),
    ];
    for (damage, message) in damages {
        damage(&torn.checkpoint(STEPS));
        let output = torn.start(&["--resume"]).wait_with_output().expect("ends");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("skipped the corrupt checkpoint"), "{}", stderr(&output));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert_same_result(&torn.output(), &whole.output());
    }
}

#[cfg(unix)]
#[test]
fn signals_stop_after_the_step_and_save() {
    let whole = Job::new();
    whole.run(&["--quiet"]);
    let steps =
        |output: &Path| metrics(output).into_iter().filter(|line| line["kind"] == "step").collect::<Vec<_>>();
    // A hang-up closes the terminal: nobody reads standard error any more.
    for (signal, reads_errors) in [("-INT", true), ("-TERM", true), ("-HUP", false)] {
        let stopped = Job::new();
        let mut child = stopped.start(&["--set", "checkpoint.every=0", "--set", "eval.every=0"]);
        if !reads_errors {
            drop(child.stderr.take());
        }
        while stopped.last_step() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().expect("sends").success());
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(1), "{signal} {}", stderr(&output));
        let says = stderr(&output).contains("the checkpoint is written, go on with --resume");
        assert_eq!(says, reads_errors, "{signal} {}", stderr(&output));
        let last = stopped.last_step() as usize;
        assert!((3..STEPS).contains(&last), "stopped after step {last}");
        assert!(stopped.checkpoint(last).join("complete.toml").exists());
        stopped.run(&["--quiet", "--resume"]);
        // Checkpoints and evaluations of the first part were turned off; every step is as it would have been.
        assert_eq!(steps(&stopped.output()), steps(&whole.output()), "{signal}");
    }
}

#[test]
fn the_saved_configuration_gives_the_same_losses() {
    let first = Job::new();
    first.run(&["--quiet", "--seed", "11", "--set", "regularization.l1=0.25"]);
    let saved = first.output().join("train.toml");
    let again = first.dir.path().join("again");
    let set = format!("output={:?}", again.display().to_string());
    ok(&["train", &saved.display().to_string(), "--quiet", "--set", &set]);
    assert_same_result(&again, &first.output());
    // The other settings matter: the seed was applied.
    let other = Job::new();
    other.run(&["--quiet", "--set", "regularization.l1=0.25"]);
    assert_ne!(metrics(&other.output()), metrics(&again));
    // Every default is filled in, and saving what was saved changes nothing.
    let text = std::fs::read_to_string(saved).expect("reads");
    for line in ["seed = 11", "l1 = 0.25", "beta2 = 0.999", "max_length = 1024", "keep = 2", "patience = 0"] {
        assert!(text.lines().any(|other| other == line), "`{line}` is not in:\n{text}");
    }
    let without_output = |text: &str| {
        text.lines().filter(|line| !line.starts_with("output")).map(str::to_owned).collect::<Vec<_>>()
    };
    let twice = std::fs::read_to_string(again.join("train.toml")).expect("reads");
    assert_eq!(without_output(&twice), without_output(&text));
}

#[test]
fn patience_ends_a_run_and_the_best_value_is_the_result() {
    // So high a rate that the held-out loss soon rises.
    let settings = [
        "--set",
        "optimizer.learning_rate=0.2",
        "--set",
        "optimizer.schedule=constant",
        "--set",
        "eval.patience=2",
        "--set",
        "checkpoint.keep=1",
    ];
    let whole = Job::new();
    whole.run(&[&settings[..], &["--quiet"]].concat());
    let lines = metrics(&whole.output());
    let evals: Vec<(u64, f64)> = lines
        .iter()
        .filter(|line| line["kind"] == "eval")
        .map(|line| (line["step"].as_u64().expect("step"), line["loss"].as_f64().expect("loss")))
        .collect();
    let trained = evals.iter().filter(|(step, _)| *step > 0);
    let (best, loss) = *trained.min_by(|a, b| a.1.total_cmp(&b.1)).expect("an evaluation");
    let (last, _) = *evals.last().expect("an evaluation");
    assert!(best < last && (last as usize) < STEPS, "best {best}, last {last}: {evals:?}");
    assert!(lines.iter().any(|line| line["kind"] == "stopped_early" && line["step"] == last));
    let card = card(&whole.output());
    assert_eq!((&card["steps"], &card["evals"][0]["loss"]), (&best.into(), &loss.into()));
    // The best is kept beside the last, however many others there were.
    let kept = std::fs::read_dir(whole.output().join("checkpoints")).expect("reads").count();
    assert!(
        kept <= 2 && whole.checkpoint(best as usize).is_dir() && whole.checkpoint(last as usize).is_dir()
    );

    // A killed run counts on where it was, and ends at the same step with the same value.
    let killed = Job::new();
    let child = killed.start(&settings);
    while killed.last_step() < best + 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(child);
    killed.run(&[&settings[..], &["--quiet", "--resume"]].concat());
    assert_same_result(&killed.output(), &whole.output());
}

/// The losses of two runs, equal up to rounding.
fn assert_near_losses(one: &Job, two: &Job) {
    let losses = |job: &Job| -> Vec<f64> {
        metrics(&job.output()).iter().filter_map(|line| line["loss"].as_f64()).collect()
    };
    let (one, two) = (losses(one), losses(two));
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-4 * one, "{one} {two}");
    }
}

#[test]
fn two_devices_share_the_micro_batches_of_a_step() {
    let (one, two) = (Job::new(), Job::new());
    let few = ["--quiet", "--set", "steps.max_steps=8"];
    one.run(&few);
    two.run(&[&few[..], &["--device", "cpu,cpu"]].concat());
    assert_near_losses(&one, &two);
    let base = base("small");
    let wrong = ["score", "--base", &base, "--text", "Suna", "--device", "cpu,cpu"];
    run::fails(
        &wrong,
        &["the device list is `cpu,cpu`: `cpu` occurs twice", "--device and --place name them"],
    );
}

#[test]
fn recomputing_activations_gives_the_same_value_and_bf16_a_near_one() {
    let few = ["--quiet", "--set", "steps.max_steps=8"];
    let with = |set: &str| {
        let job = Job::new();
        job.run(&[&few[..], &["--set", set]].concat());
        job
    };
    let (kept, recomputed) =
        (with("steps.gradient_checkpointing=false"), with("steps.gradient_checkpointing=true"));
    assert_near_losses(&kept, &recomputed);
    let last = |job: &Job| card(&job.output())["evals"][0]["loss"].as_f64().expect("a loss");
    let (exact, rounded) = (last(&kept), last(&with("steps.precision=bf16")));
    assert!(exact != rounded && (exact - rounded).abs() < 0.1 * exact, "{exact} {rounded}");
}
