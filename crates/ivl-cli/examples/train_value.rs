//! Train a value from code, with the losses as they come, and save it where any tool finds an ordinary checkpoint.
//!
//! ```text
//! cargo run --release -p ivl-cli --example train_value -- runs/from-code
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks on standard output")]

use std::path::PathBuf;
use std::rc::Rc;

use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, VocabMap};
use ivl_models::{Checkpoint, save};
use ivl_train::{
    BaseLogits, Dataset, Encoder, Event, Examples, FrozenBase, Run, SourceConfig, TrainConfig, train,
};

fn main() -> anyhow::Result<()> {
    let output = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs/from-code".to_owned()));
    let mut config: TrainConfig = toml::from_str(
        "output = ''\nbase = 'examples/first-value/small'\n[value]\n[data]\ntrain = ['examples/first-value/train.jsonl']\n\
         [optimizer]\nlearning_rate = 3e-3\n[steps]\nmax_steps = 40\nbatch_size = 8\n[regularization]\nl1 = 0.05",
    )?;
    config.output.clone_from(&output);

    // The base lives on a plain device, where no gradient can reach it; the value on one with autodiff.
    let device = Device::flex();
    let checkpoint = Checkpoint::open("examples/first-value/small".as_ref())?;
    let (base, tokenizer) = checkpoint.load_lm(&device, DType::F32)?;
    let value = checkpoint.load(&device.clone().autodiff(), DType::F32)?;
    let map = VocabMap::same_ids(base.vocab(), &checkpoint.vocab(&tokenizer)?)?;
    let frozen = |name: &str, lm| FrozenBase::new(name, BaseLogits::Lm(Rc::new(lm)), map.clone());
    let (large, _) = Checkpoint::open("examples/first-value/large".as_ref())?.load_lm(&device, DType::F32)?;

    let encoder = Encoder::new(&tokenizer, None, 256);
    let examples = |file: &str, what| -> anyhow::Result<Examples> {
        let data = Dataset::open(&[SourceConfig::new(file)])?;
        Ok(Examples::encode(&data, &encoder, what, &output.join("tokens"), &mut |_| ())?)
    };
    let mut run = Run::new(
        vec![frozen("small", base)],
        value,
        examples("examples/first-value/train.jsonl", "demonstrations")?,
    );
    run.eval = examples("examples/first-value/held-out.jsonl", "held-out demonstrations")?;
    run.held_out = vec![frozen("large", large)];
    "train_value".clone_into(&mut run.fingerprint);
    let trained = train(run, &config, |event| match event {
        Event::Step(step) if step.step % 10 == 0 => println!("step {} loss {:.3}", step.step, step.loss),
        Event::Eval(eval) => {
            println!(
                "held out, on {:?}: {:?} alone, {:.3} with the value",
                eval.base, eval.base_loss, eval.loss
            );
        }
        _ => {}
    })?;
    let tokenizer_files: Vec<PathBuf> =
        ["tokenizer.json", "tokenizer_config.json"].iter().map(|file| checkpoint.dir().join(file)).collect();
    for file in tokenizer_files {
        std::fs::copy(&file, output.join(file.file_name().unwrap_or_default()))?;
    }
    save(&trained.value, checkpoint.json(), &output)?;
    println!("saved in {}", output.display());
    Ok(())
}
