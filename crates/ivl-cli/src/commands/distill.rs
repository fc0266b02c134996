//! `ivl distill`: a base and its values as one model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use ivl::train::SourceConfig;
use ivl::{AnswerSampling, Attach, GenerateConfig, Model, SamplingConfig, TrainConfig, Training};
use toml::{Table, Value};

use super::train::{fit_and_summarize, with_sets};
use crate::args::{Common, Distill};
use crate::models::{open_options, value_and_alpha, warn_of_alpha};
use crate::progress::bar;

pub fn run(args: &Distill, common: &Common) -> Result<()> {
    let mut config = config(args, common)?;
    if args.sample {
        if !args.resume && args.out.join("config.json").exists() {
            let what = "a trained model";
            return Err(ivl::train::Error::OutputExists { path: args.out.clone(), what }.into());
        }
        config = with_answers(config, args, common)?;
    }
    fit_and_summarize(Training::new(&config).resume(args.resume), common)
}

/// The training of the base on the predictions of base and values.
fn config(args: &Distill, common: &Common) -> Result<TrainConfig> {
    let mut values = Vec::new();
    for text in &args.value {
        let (name, alpha) = value_and_alpha(text)?;
        if let Some(alpha) = alpha {
            warn_of_alpha(name, alpha, common);
        }
        let mut value = Table::from_iter([("model".to_owned(), Value::from(name))]);
        value.extend(alpha.map(|alpha| ("alpha".to_owned(), Value::Float(alpha))));
        value.extend(args.map.iter().map(|map| ("map".to_owned(), Value::from(map.as_str()))));
        values.push(Value::Table(value));
    }
    let mut network = Table::from_iter([("model".to_owned(), Value::from(args.base.as_str()))]);
    if !args.full {
        let rank = i64::try_from(args.rank).context("--rank is too large")?;
        let lora = [
            ("rank".to_owned(), Value::Integer(rank)),
            ("alpha".to_owned(), Value::Float(2.0 * rank as f64)),
            ("merge".to_owned(), Value::Boolean(args.merge)),
        ];
        network.insert("lora".to_owned(), Value::Table(Table::from_iter(lora)));
    }
    let teacher = [
        ("teacher".to_owned(), Value::from(args.base.as_str())),
        ("values".to_owned(), Value::Array(values)),
    ];
    let data = [("train".to_owned(), paths(&args.data)?), ("eval".to_owned(), paths(&args.eval)?)];
    let table = Table::from_iter([
        ("output".to_owned(), path(&args.out)?),
        ("objective".to_owned(), Value::from("distill")),
        ("distill".to_owned(), Value::Table(Table::from_iter(teacher))),
        ("value".to_owned(), Value::Table(network)),
        ("data".to_owned(), Value::Table(Table::from_iter(data))),
    ]);
    let config = TrainConfig::read(with_sets(table, &args.set, common)?)?;
    config.validate()?;
    Ok(config)
}

fn paths(paths: &[PathBuf]) -> Result<Value> {
    Ok(Value::Array(paths.iter().map(|found| path(found)).collect::<Result<_>>()?))
}

fn path(path: &Path) -> Result<Value> {
    match path.to_str() {
        Some(text) => Ok(Value::from(text)),
        None => bail!("`{}` is not UTF-8, which a configuration has to be", path.display()),
    }
}

/// The same configuration with data that base and values have answered.
fn with_answers(mut config: TrainConfig, args: &Distill, common: &Common) -> Result<TrainConfig> {
    let distill = config.distill.as_ref().context("`distill` was set to nothing")?;
    let mut builder = Model::builder(&distill.teacher).options(open_options(common));
    for value in &distill.values {
        let mut attach = Attach::new();
        attach.alpha = value.alpha;
        attach.maps.extend(value.map.clone());
        builder = builder.attach(&value.model, attach);
    }
    let model = builder.open()?;
    let settings = GenerateConfig::default()
        .max_new_tokens(args.max_new_tokens)
        .sampling(SamplingConfig::default().temperature(1.0))
        .seed(config.seed);
    for (name, sources) in [("train", &mut config.data.train), ("eval", &mut config.data.eval)] {
        if sources.is_empty() {
            continue;
        }
        let path = args.out.join("answers").join(format!("{name}.jsonl"));
        let sampling = AnswerSampling::new(std::mem::take(sources), settings.clone());
        let mut shown: Option<ProgressBar> = None;
        sampling.write(&model, &path, |answers| {
            let template = "answers {bar:30} {pos}/{len} prompts, {eta} left";
            let bar = shown.get_or_insert_with(|| bar(common, answers.total as u64, template));
            bar.set_position(answers.done as u64);
        })?;
        if let Some(bar) = shown {
            bar.finish_and_clear();
        }
        *sources = vec![SourceConfig::new(path)];
    }
    Ok(config)
}
