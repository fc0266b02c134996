//! Responses to the instructions of IFEval, with the verdicts of lm-evaluation-harness 0.4.13 (`harness/make_ifeval.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ivl_eval::{FileLine, TaskRow, check_instructions};
use serde_json::Value;

/// Checks every case of a file; returns for each instruction how many verdicts there are, and those that differ.
fn check(path: &Path) -> (BTreeMap<String, [usize; 2]>, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("reads");
    let (mut counts, mut different) = (BTreeMap::<String, [usize; 2]>::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let fields: serde_json::Map<String, Value> = serde_json::from_str(line).expect("JSON");
        let place = FileLine { path: path.to_owned(), line: index + 1 };
        let row = TaskRow { fields: fields.clone(), place };
        let response = fields["response"].as_str().expect("a text");
        let followed = match check_instructions(&row, response) {
            Ok(followed) => followed,
            Err(error) => {
                different.push(error.to_string());
                continue;
            }
        };
        for (key, ours) in [("strict", &followed.strict), ("loose", &followed.loose)] {
            for (at, theirs) in fields[key].as_array().expect("verdicts").iter().enumerate() {
                let id = fields["instruction_id_list"][at].as_str().expect("a name");
                let theirs = theirs.as_bool().expect("a verdict");
                counts.entry(id.to_owned()).or_default()[usize::from(theirs)] += 1;
                if ours[at] != theirs {
                    different.push(format!("line {}: {id} {key}: {} and {theirs}", index + 1, ours[at]));
                }
            }
        }
    }
    (counts, different)
}

#[test]
fn every_verdict_is_that_of_the_harness() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ifeval.jsonl");
    let (counts, different) = check(&path);
    assert_eq!(counts.len(), 25, "{counts:?}");
    assert!(counts.values().flatten().all(|&count| count > 0), "{counts:?}");
    assert!(different.is_empty(), "{different:#?}");
}

/// More cases than a repository should hold: a file that `make_ifeval.py` wrote from other rows and texts.
#[test]
#[ignore = "needs IVL_IFEVAL_CASES, a file of cases"]
fn verdicts_on_a_file_of_cases() {
    let path = PathBuf::from(std::env::var_os("IVL_IFEVAL_CASES").expect("IVL_IFEVAL_CASES"));
    let (counts, different) = check(&path);
    let all: usize = counts.values().flatten().sum();
    assert!(different.is_empty(), "{} of {all} verdicts differ: {different:#?}", different.len());
}
