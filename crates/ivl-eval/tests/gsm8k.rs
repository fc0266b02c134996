//! Answers to GSM8K with what lm-evaluation-harness 0.4.13 takes from them and says of it (`harness/make_gsm8k.py`), by the
//! rules of `tasks/gsm8k.toml`.

use std::path::{Path, PathBuf};

use ivl_eval::{Extraction, Metric, OutputType, Task, TextMatch};
use serde_json::Value;

/// The filters and the metric of the task, whose data is not in the repository.
fn rules() -> (Vec<Extraction>, TextMatch) {
    let dir = tempfile::tempdir().expect("a directory");
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tasks/gsm8k.toml");
    std::fs::create_dir_all(dir.path().join("data/gsm8k")).expect("makes");
    std::fs::copy(task, dir.path().join("gsm8k.toml")).expect("copies");
    for file in ["test.jsonl", "train.jsonl"] {
        std::fs::write(dir.path().join("data/gsm8k").join(file), "{\"question\":\"\",\"answer\":\"\"}\n")
            .expect("writes");
    }
    let task = Task::open(&dir.path().join("gsm8k.toml")).expect("opens");
    assert_eq!((task.output_type(), task.num_fewshot()), (OutputType::GenerateUntil, 5));
    match task.metrics.as_slice() {
        [Metric::Text(rule, _)] => (task.extractions.clone(), rule.clone()),
        other => panic!("{other:?}"),
    }
}

fn check(path: &Path) -> usize {
    let (extractions, rule) = rules();
    let text = std::fs::read_to_string(path).expect("reads");
    let mut right = [0; 2];
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let response = case["response"].as_str().expect("a text");
        let target = [case["target"].as_str().expect("a text").to_owned()];
        for extraction in &extractions {
            let taken = extraction.apply(response).expect("ends");
            let is_right = rule.is_right(&taken, &target).expect("ends");
            assert_eq!(
                serde_json::json!([taken, is_right]),
                case[&extraction.name],
                "{}: {line}",
                extraction.name
            );
            right[usize::from(is_right)] += 1;
        }
    }
    assert!(right.iter().all(|&count| count > 20), "{right:?}");
    right.iter().sum()
}

#[test]
fn every_answer_is_judged_as_in_the_harness() {
    assert_eq!(check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gsm8k.jsonl")), 600);
}

/// More answers than a repository should hold: a file that `make_gsm8k.py` wrote.
#[test]
#[ignore = "needs IVL_GSM8K_CASES, a file of cases"]
fn answers_of_a_file_of_cases() {
    check(&PathBuf::from(std::env::var_os("IVL_GSM8K_CASES").expect("IVL_GSM8K_CASES")));
}
