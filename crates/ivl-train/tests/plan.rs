//! The order of a run: complete, weighted, resumable, and a function of the seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ivl_train::{
    Batch, Batching, DataConfig, Dataset, Demonstration, Encoder, Example, Examples, Plan, SourceConfig,
    StepsConfig,
};

/// Examples that can be told by their first id.
fn examples(lens: &[usize]) -> Vec<Example> {
    let example = |(row, &len): (usize, &usize)| Example {
        ids: (0..len).map(|i| (100 * row + i) as u32).collect(),
        loss_mask: (0..len).map(|i| i >= len / 2).collect(),
    };
    lens.iter().enumerate().map(example).collect()
}

fn config(batching: Batching) -> DataConfig {
    let mut data = DataConfig::new(vec![SourceConfig::new("unused")]);
    (data.batching, data.max_length) = (batching, 16);
    data
}

fn steps(epochs: usize, batch_size: usize, accumulation: usize) -> StepsConfig {
    let mut steps = StepsConfig::default();
    (steps.epochs, steps.batch_size, steps.accumulation) = (epochs, batch_size, accumulation);
    steps
}

fn plan(lens: &[usize], steps: &StepsConfig, batching: Batching, seed: u64) -> Plan {
    Plan::training(Arc::new(examples(lens).into()), steps, &config(batching), seed)
}

fn batches(plan: &Plan) -> Vec<Batch> {
    plan.batches().collect::<Result<_, _>>().expect("reads")
}

/// The first ids of the examples of a batch.
fn members(batch: &Batch) -> Vec<u32> {
    let seq = batch.ids.len() / batch.rows;
    let row = |(row, lens): (usize, &Vec<usize>)| -> Vec<u32> {
        let starts = lens.iter().scan(row * seq, |next, len| {
            let start = *next;
            *next += len;
            Some(batch.ids[start])
        });
        starts.collect()
    };
    batch.segments.iter().enumerate().flat_map(row).collect()
}

const LENS: [usize; 23] = [4, 9, 2, 16, 5, 5, 12, 3, 7, 8, 2, 15, 6, 11, 4, 10, 3, 13, 2, 9, 14, 6, 16];
const ALL: [Batching; 3] = [Batching::Random, Batching::ByLength, Batching::Packed];

#[test]
fn every_example_comes_once_an_epoch_and_steps_are_whole() {
    for batching in ALL {
        let plan = plan(&LENS, &steps(3, 2, 3), batching, 1);
        let all = batches(&plan);
        assert_eq!(all.iter().filter(|batch| batch.ends_step).count(), plan.steps());
        let mut seen: Vec<u32> = all.iter().flat_map(members).collect();
        seen.sort_unstable();
        let expected: Vec<u32> = (0..LENS.len() as u32).flat_map(|row| [100 * row; 3]).collect();
        assert_eq!(seen, expected, "{batching:?}");
        // Each micro-batch of a step knows the trained tokens of all of them.
        for step in all.split_inclusive(|batch| batch.ends_step) {
            let tokens: usize = step.iter().map(|batch| batch.targets.len()).sum();
            assert!(step.len() <= 3 && step.iter().all(|batch| batch.step_tokens == tokens), "{batching:?}");
        }
    }
    assert_eq!(plan(&[4; 9], &steps(2, 2, 2), Batching::Random, 1).steps(), 6);
}

#[test]
fn a_plan_goes_on_from_any_step_as_if_never_stopped() {
    for batching in ALL {
        let whole = plan(&LENS, &steps(3, 2, 2), batching, 9);
        let ids = |plan: &Plan| batches(plan).into_iter().map(|batch| batch.ids).collect::<Vec<_>>();
        let all = batches(&whole);
        for done in 0..=whole.steps() {
            let ends: Vec<usize> = (0..all.len()).filter(|&pass| all[pass].ends_step).collect();
            let first = if done == 0 { 0 } else { ends[done - 1] + 1 };
            let rest = whole.from_step(done);
            assert_eq!(ids(&rest), ids(&whole)[first..], "{batching:?} from step {done}");
            assert_eq!(rest.steps(), whole.steps() - done);
            assert_eq!(ids(&rest.from_step(1)), ids(&whole.from_step(done + 1)));
        }
    }
}

#[test]
fn the_order_depends_on_seed_and_epoch_alone() {
    for batching in ALL {
        let order = |seed| -> Vec<Vec<u32>> {
            batches(&plan(&LENS, &steps(2, 3, 1), batching, seed)).iter().map(members).collect()
        };
        assert_eq!(order(4), order(4));
        assert_ne!(order(4), order(5), "{batching:?}");
        let both = order(4);
        assert_ne!(both[..both.len() / 2], both[both.len() / 2..], "{batching:?}: epochs differ");
    }
}

#[test]
fn a_limit_of_steps_cuts_the_plan() {
    let mut limited = steps(5, 1, 3);
    limited.max_steps = 7;
    let plan = plan(&[4; 10], &limited, Batching::Random, 1);
    let all = batches(&plan);
    // An epoch of ten micro-batches has steps of 3, 3, 3 and 1.
    assert_eq!((plan.steps(), all.len()), (7, 19));
    assert!(all.last().expect("batches").ends_step);
}

#[test]
fn similar_lengths_share_a_pass_and_packed_rows_are_full() {
    let lens: Vec<usize> = (0..400).map(|i| 2 + i * 7 % 15).collect();
    let filled = |batching| {
        let filling = plan(&lens, &steps(1, 4, 1), batching, 3).filling();
        assert_eq!(filling.tokens as usize, lens.iter().map(|len| len - 1).sum::<usize>());
        filling.tokens as f64 / filling.places as f64
    };
    let [random, by_length, packed] = ALL.map(filled);
    assert!(random < 0.8 && by_length > 0.95 && packed > 0.97, "{random} {by_length} {packed}");
}

#[test]
fn evaluation_sees_every_example_once() {
    let plan = Plan::evaluation(Arc::new(examples(&LENS).into()), 4);
    let all = batches(&plan);
    let mut seen: Vec<u32> = all.iter().flat_map(members).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..LENS.len() as u32).map(|row| 100 * row).collect::<Vec<_>>());
    assert!(all.iter().all(|batch| batch.ends_step && batch.step_tokens == batch.targets.len()));
    assert_eq!(Plan::evaluation(Arc::default(), 4).steps(), 0);
}

/// The tokenizer of the span fixtures, with sources of texts that can be told apart.
fn encoded(dir: &Path, weights: [f64; 2]) -> Examples {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spans/tokenizer.json");
    let tokenizer = ivl_models::Tokenizer::from_file(&tokenizer).expect("a tokenizer");
    let sources = [("a", 8), ("b", 5)].into_iter().zip(weights).map(|((name, rows), weight)| {
        let path = dir.join(format!("{name}.jsonl"));
        let line = |row| format!("{{\"text\": \"{name}{row:02} x\"}}\n");
        std::fs::write(&path, (0..rows).map(line).collect::<String>()).expect("writes");
        let mut source = SourceConfig::new(path);
        source.weight = weight;
        source
    });
    let dataset = Dataset::open(&sources.collect::<Vec<_>>()).expect("opens");
    let first = dataset.sources[0].rows().next().expect("a row").expect("reads");
    assert_eq!(first.demonstration, Demonstration::Text("a00 x".to_owned()));
    let encoder = Encoder::new(&tokenizer, None, 4);
    Examples::encode(&dataset, &encoder, "data.train", &dir.join("cache"), &mut |_| ()).expect("encodes")
}

#[test]
fn weights_say_how_often_a_row_comes_and_none_comes_again_before_all_have() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let plan = |weights, epochs| {
        let examples = Arc::new(encoded(dir.path(), weights));
        Plan::training(examples, &steps(epochs, 1, 1), &config(Batching::Random), 2)
    };
    let counts = |plan: &Plan| {
        let mut counts: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        for batch in batches(plan) {
            *counts.entry(batch.ids).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(counts(&plan([1.0, 1.0], 1)), [1; 13]);
    assert_eq!(counts(&plan([1.0, 3.0], 1)), [vec![1; 8], vec![3; 5]].concat());
    // Half of eight rows in each epoch: the second sees those that the first did not.
    assert_eq!(plan([0.5, 1.0], 1).steps(), 9);
    assert_eq!(counts(&plan([0.5, 1.0], 2)), [vec![1; 8], vec![2; 5]].concat());
    // 1.3 * 5 = 6.5 rows an epoch: 13 in two.
    assert_eq!(plan([1.0, 1.3], 2).steps(), 16 + 13);
    assert_eq!(counts(&plan([1.0, 1.3], 2)), [vec![2; 10], vec![3; 3]].concat());
}

#[test]
fn tokens_are_kept_in_a_file_that_is_made_anew_if_it_is_not_whole() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let all = |examples: &Examples| -> Vec<Example> {
        (0..examples.len()).map(|index| examples.get(index).expect("reads")).collect()
    };
    let first = encoded(dir.path(), [1.0, 1.0]);
    let expected = all(&first);
    assert!(expected.iter().all(|example| example.ids.len() == 4 && example.loss_mask == [true; 4]));
    let report = &first.reports()[1];
    assert_eq!((report.rows, report.examples, report.truncated, report.dropped), (5, 5, 5, 0));
    assert_eq!((report.tokens, report.trained), (20, 15));
    assert!(report.cut >= 5);
    let files = || -> Vec<_> {
        let entries = std::fs::read_dir(dir.path().join("cache")).expect("reads");
        entries.map(|entry| entry.expect("entry").path()).collect()
    };
    let file = files().remove(0);
    let (bytes, written) =
        (std::fs::read(&file).expect("reads"), || file.metadata().expect("is there").modified());
    let time = written().expect("a time");
    assert_eq!(all(&encoded(dir.path(), [2.0, 1.0])), expected, "weights are no part of the tokens");
    assert_eq!(written().expect("a time"), time, "the file was opened, not made");
    for broken in [&bytes[..bytes.len() - 1], &bytes[1..], &[], b"something else"] {
        std::fs::write(&file, broken).expect("writes");
        assert_eq!(all(&encoded(dir.path(), [1.0, 1.0])), expected);
        assert_eq!(std::fs::read(&file).expect("reads"), bytes);
    }
    assert_eq!(files().len(), 1);
}
