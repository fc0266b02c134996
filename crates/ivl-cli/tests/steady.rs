//! Long runs hold no more memory than short ones: bytes that are allocated are counted, after some tokens or steps and after
//! several times as many. One test, since whatever else ran in this process would be counted too.

mod run;

use std::alloc::System;
use std::path::Path;
use std::rc::Rc;

use burn::tensor::{DType, Device};
use cap::Cap;
use ivl_core::tokens::token_tensor;
use ivl_core::{CausalLm, FusedLm, Value, VocabMap};
use ivl_models::{Checkpoint, PackedFormat, TransformerLm};
use ivl_train::{
    BaseLogits, Dataset, Encoder, Event, Examples, FrozenBase, Run, SourceConfig, TrainConfig, train,
};
use run::base;

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// The allowed difference: buffers that threads allocate on first use, and the records of a run.
const SLACK: usize = 64 << 10;

#[track_caller]
fn assert_steady(what: &str, early: usize, late: usize) {
    assert!(late <= early + SLACK, "{what}: {early} bytes early, {late} late");
}

#[test]
fn memory_does_not_grow_with_tokens_and_steps() {
    decoding(1);
    decoding(8);
    training();
}

/// A base with a value reads tokens one by one, and forgets them again: what its cache holds stays the same.
fn decoding(rows: usize) {
    let lm = |name: &str| -> Box<dyn CausalLm> {
        let checkpoint = Checkpoint::open(base(name).as_ref()).expect("opens");
        let net = checkpoint.load(&Device::flex(), PackedFormat::F32).expect("loads");
        let vocab = checkpoint.vocab(&checkpoint.tokenizer().expect("a tokenizer")).expect("a vocabulary");
        Box::new(TransformerLm::new(net, vocab, name))
    };
    let fused = FusedLm::new(lm("large"), vec![Value::new(lm("small"), 1.0)]).expect("one vocabulary");
    let mut cache = fused.new_cache(&vec![0; rows]);
    let mut read = |tokens: usize| {
        for token in 0..tokens {
            let ids = vec![(token % 300) as u32; rows];
            fused
                .next_logits(token_tensor(&ids, rows, &fused.device()), &mut cache)
                .expect("its own cache")
                .into_data();
            if cache.len() == 100 {
                cache.truncate(10);
            }
        }
        ALLOCATED.allocated()
    };
    let early = read(200);
    assert_steady(&format!("decoding of {rows} rows"), early, read(1000));
}

/// A value learns, with held-out losses and checkpoints on the way.
fn training() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut config: TrainConfig = toml::from_str(
        "output = ''\nbase = 'small'\n[value]\n[data]\ntrain = ['train.jsonl']\neval = ['held-out.jsonl']\n\
         [steps]\nmax_steps = 240\nepochs = 1000\n[eval]\nevery = 20\n[checkpoint]\nevery = 20",
    )
    .expect("a configuration");
    dir.path().clone_into(&mut config.output);
    let checkpoint = Checkpoint::open(base("small").as_ref()).expect("opens");
    let (lm, tokenizer) = checkpoint.load_lm(&Device::flex(), DType::F32).expect("loads");
    let encoder = Encoder::new(&tokenizer, None, 64);
    let examples = |file: &str| {
        let data = Dataset::open(&[SourceConfig::new(base(file))]).expect("opens");
        Examples::encode(&data, &encoder, "rows", Path::new(dir.path()), &mut |_| ()).expect("encodes")
    };
    let map = VocabMap::same_ids(lm.vocab(), lm.vocab()).expect("one vocabulary");
    let source = BaseLogits::Lm(Rc::new(lm));
    let value = checkpoint.load(&Device::flex().autodiff(), DType::F32).expect("loads");
    let mut run = Run::new(vec![FrozenBase::new("small", source, map)], value, examples("train.jsonl"));
    run.eval = examples("held-out.jsonl");
    let held = Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = held.clone();
    train(run, &config, move |event| {
        if let Event::Step(step) = event
            && [50, 230].contains(&step.step)
        {
            seen.borrow_mut().push(at_rest());
        }
    })
    .expect("trains");
    let [early, late] = held.borrow()[..] else { panic!("two steps") };
    assert_steady("training", early, late);
}

/// The least of a second in which training waits: a checkpoint is written in the background, in the time of several steps.
fn at_rest() -> usize {
    let readings = (0..20).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        ALLOCATED.allocated()
    });
    readings.min().expect("a reading")
}
