//! `ivl train`: from a TOML to a value directory.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device};
use indicatif::ProgressBar;
use ivl_core::{CausalLm, VocabMap};
use ivl_models::{CascadeInput, ChatTemplate, Checkpoint, Tokenizer, Transformer, initialize, save};
use ivl_train::{
    BaseCard, Dataset, Encoder, EvalCard, EvalReport, Event, Examples, FORMAT, FrozenBase, Init, Interrupter,
    Run, StepReport, TrainConfig, Trained, ValueCard, train,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::args::{Common, Train};
use crate::compose::load_lm;
use crate::demonstrations;
use crate::device::device;
use crate::hub::resolve;
use crate::progress::bar;

/// Files that travel with a tokenizer.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"];

pub fn run(args: &Train, common: &Common) -> Result<()> {
    let config = read_config(args, common)?;
    prepare_output(&config.output, args.resume)?;
    let device = device(common)?;
    let parts = Parts::load(&config, &device, common)?;
    let (interrupter, fingerprint) = (Interrupter::new(), parts.fingerprint(&config)?);
    stop_on_ctrl_c(&interrupter, common)?;
    let rows = parts.rows;
    let (data, card_parts) = (parts.data_fingerprint.clone(), parts.card.clone());
    let saver = Saver { json: parts.json, source: parts.source, template: parts.template };
    let run = Run {
        bases: parts.bases,
        value: parts.value,
        train: parts.train,
        eval: parts.eval,
        held_out: parts.held_out,
        fingerprint,
        resume: args.resume,
        interrupter,
    };
    let mut reporter = Reporter::new(&config.output, common)?;
    let trained = train(run, &config, move |event| reporter.report(&event))?;
    if trained.interrupted {
        bail!(
            "stopped after step {} of {}; the checkpoint is written, go on with --resume",
            trained.steps,
            trained.total_steps
        );
    }
    let card = card_parts.map(|parts| card(&config, &trained, parts, data, rows));
    saver.save(&trained.value, card.as_ref(), &config.output)?;
    summarize(&config, &trained, common);
    Ok(())
}

/// The TOML with `--set` and `--seed` applied.
pub(super) fn read_config(args: &Train, common: &Common) -> Result<TrainConfig> {
    let path = args.config.display();
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("cannot read `{path}`"))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("`{path}` is not TOML"))?;
    for set in &args.set {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set is `{set}`, expected KEY=VALUE, such as optimizer.learning_rate=1e-3");
        };
        let value =
            format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut parsed| parsed.remove("x"));
        let text = || toml::Value::String(set.split_once('=').map_or("", |(_, value)| value).to_owned());
        insert(&mut table, key.trim(), value.unwrap_or_else(text))?;
    }
    if let Some(seed) = common.seed {
        table.insert("seed".to_owned(), toml::Value::Integer(seed as i64));
    }
    let config: TrainConfig =
        table.try_into().with_context(|| format!("`{path}` is not a training configuration"))?;
    config.validate()?;
    if !config.eval.bases.is_empty() && config.data.eval.is_empty() {
        bail!("`eval.bases` is set, but `data.eval` names no held-out file to measure on");
    }
    Ok(config)
}

fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let entry = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(inner) = entry.as_table_mut() else { bail!("--set {key}: `{part}` is not a table") };
        table = inner;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// Finds out before hours of training whether the result can be written.
fn prepare_output(output: &Path, resume: bool) -> Result<()> {
    if !resume && output.join("config.json").exists() {
        bail!(ivl_train::Error::OutputExists { path: output.to_owned(), what: "a trained model" });
    }
    std::fs::create_dir_all(output).with_context(|| format!("cannot create `{}`", output.display()))?;
    let probe = output.join(".ivl-write-test");
    let written = std::fs::write(&probe, b"ivl").and_then(|()| std::fs::remove_file(&probe));
    written.with_context(|| format!("cannot write into `{}`", output.display()))
}

/// Everything that a run loads.
struct Parts {
    bases: Vec<FrozenBase>,
    value: Transformer,
    train: Examples,
    eval: Examples,
    held_out: Vec<FrozenBase>,
    json: Map<String, Value>,
    source: PathBuf,
    template: Option<ChatTemplate>,
    card: Option<CardParts>,
    data_fingerprint: String,
    rows: usize,
}

#[derive(Clone)]
struct CardParts {
    bases: Vec<BaseCard>,
    tokenizer: String,
    template: Option<String>,
}

impl Parts {
    fn load(config: &TrainConfig, device: &Device, common: &Common) -> Result<Self> {
        let data = Dataset::open(&config.data.train)?;
        let held_out_data = Dataset::open(&config.data.eval)?;
        let named = bases_of(config);
        let source = value_source(config)?;
        let (json, checkpoint) = value_checkpoint(config, &source)?;
        let mut tokenizer = checkpoint.tokenizer()?;
        let value_vocab = checkpoint.vocab(&tokenizer)?;
        let mut checkpoints = Vec::new();
        let mut load = |name: &str, weight: f64| -> Result<FrozenBase> {
            let checkpoint = Checkpoint::open(&resolve(name)?)?;
            let (lm, own) = load_lm(&checkpoint, device, crate::device::dtype(common), common)?;
            let map =
                VocabMap::same_ids(lm.vocab(), &value_vocab).with_context(|| format!("the base `{name}`"))?;
            // Whoever knows the fewest tokens tokenizes: then every id is known to all.
            if own.vocab().size() < tokenizer.vocab().size() {
                tokenizer = own.clone();
            }
            checkpoints.push((checkpoint, own));
            Ok(FrozenBase { name: name.to_owned(), lm: Rc::new(lm), projection: map.on(device), weight })
        };
        let bases: Vec<FrozenBase> =
            named.iter().map(|&(name, weight)| load(name, weight)).collect::<Result<_>>()?;
        let held_out: Vec<FrozenBase> =
            config.eval.bases.iter().map(|name| load(name, 1.0)).collect::<Result<_>>()?;
        let template = template(config, checkpoints.first().map(|(checkpoint, _)| checkpoint), &checkpoint)?;
        let stride = config.value.connection.cascade_input().map_or(1, CascadeInput::stride);
        let longest = bases.iter().chain(&held_out).map(|base| base.lm.max_positions());
        let longest = longest.fold(checkpoint.config().max_positions / stride, usize::min);
        let max_length = config.data.max_length.min(longest);
        let encoder = Encoder::new(&tokenizer, template.as_ref(), max_length);
        let train = demonstrations::encode(&data, &encoder, "data.train", config, common)?;
        let eval = demonstrations::encode(&held_out_data, &encoder, "data.eval", config, common)?;
        let autodiff = device.clone().autodiff();
        let value = match config.value.init {
            Init::Checkpoint => checkpoint.load(&autodiff, DType::F32, &mut |_| ())?,
            Init::Random => {
                initialize(checkpoint.config().init(&autodiff), config.seed, config.value.init_std, &autodiff)
            }
        };
        let card = |(&(name, _), (checkpoint, own)): (&(&str, f64), &(Checkpoint, Tokenizer))| {
            Ok(BaseCard {
                name: name.to_owned(),
                config: sha256(&serde_json::to_vec(checkpoint.json())?),
                tokenizer: own.vocab().fingerprint().to_owned(),
            })
        };
        let cards: Vec<BaseCard> = named.iter().zip(&checkpoints).map(card).collect::<Result<_>>()?;
        let card = (!cards.is_empty()).then(|| CardParts {
            bases: cards,
            tokenizer: value_vocab.fingerprint().to_owned(),
            template: template.as_ref().map(|template| template.source().to_owned()),
        });
        Ok(Self {
            bases,
            value,
            rows: train.reports().iter().map(|report| report.rows).sum(),
            train,
            eval,
            held_out,
            json,
            source,
            template,
            card,
            data_fingerprint: data.fingerprint,
        })
    }

    /// Of settings, data and models: a checkpoint of another run is refused.
    fn fingerprint(&self, config: &TrainConfig) -> Result<String> {
        let mut settings = serde_json::to_value(config)?;
        for free in ["output", "checkpoint", "eval"] {
            settings[free] = Value::Null;
        }
        settings["data"]["cache"] = Value::Null;
        let bases = self.card.as_ref().map(|card| &card.bases);
        Ok(sha256(serde_json::to_string(&(settings, &self.data_fingerprint, bases, &self.json))?.as_bytes()))
    }
}

/// Where the value comes from: the directory that the configuration names, else the first base.
pub(super) fn value_source(config: &TrainConfig) -> Result<PathBuf> {
    let first = || bases_of(config).first().map(|(name, _)| *name);
    let name = config.value.model.as_deref().or_else(first);
    resolve(name.context("`value.model` is not set, and there is no base to start from")?)
}

/// Names and weights of the bases to train against.
pub(super) fn bases_of(config: &TrainConfig) -> Vec<(&str, f64)> {
    let several = config.bases.iter().map(|base| (base.model.as_str(), base.weight));
    config.base.iter().map(|base| (base.as_str(), 1.0)).chain(several).collect()
}

/// The configuration of the value: that of its checkpoint, with overrides for a random start.
pub(super) fn value_checkpoint(
    config: &TrainConfig,
    source: &Path,
) -> Result<(Map<String, Value>, Checkpoint)> {
    let checkpoint = Checkpoint::open(source)?;
    let mut json = checkpoint.json().clone();
    if config.value.overrides.is_empty() {
        return Ok((json, checkpoint));
    }
    json.extend(config.value.overrides.clone());
    let checkpoint = checkpoint.with_config(json.clone()).context("in value.overrides")?;
    Ok((json, checkpoint))
}

pub(super) fn template(
    config: &TrainConfig,
    base: Option<&Checkpoint>,
    value: &Checkpoint,
) -> Result<Option<ChatTemplate>> {
    if let Some(path) = &config.data.chat_template {
        return Ok(Some(ChatTemplate::from_file(path)?));
    }
    match value.chat_template()? {
        Some(template) => Ok(Some(template)),
        None => Ok(base.map(Checkpoint::chat_template).transpose()?.flatten()),
    }
}

fn stop_on_ctrl_c(interrupter: &Interrupter, common: &Common) -> Result<()> {
    let (interrupter, quiet) = (interrupter.clone(), common.quiet);
    ctrlc::set_handler(move || {
        if interrupter.should_stop() {
            std::process::exit(130);
        }
        if !quiet {
            eprintln!("\nstopping after this step; once more to stop at once");
        }
        interrupter.stop(Some("Ctrl-C"));
    })
    .context("cannot listen for Ctrl-C")
}

/// Shows events as a bar or as lines, and writes them to `metrics.jsonl`.
struct Reporter {
    log: RefCell<File>,
    bar: ProgressBar,
    lines: bool,
    every: usize,
}

impl Reporter {
    fn new(output: &Path, common: &Common) -> Result<Self> {
        let path = output.join("metrics.jsonl");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write `{}`", path.display()))?;
        let bar = bar(common, 0, "{bar:30} {pos}/{len} steps, {eta} left {msg}");
        let lines = bar.is_hidden() && !common.quiet;
        Ok(Self { log: RefCell::new(log), bar, lines, every: 1 })
    }

    fn report(&mut self, event: &Event) {
        match event {
            Event::Start { done, total } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                self.every = total.div_ceil(20).max(1);
            }
            Event::Step(step) => {
                self.write("step", json!(step));
                self.bar.set_position(step.step as u64);
                self.bar.set_message(format!("loss {:.4}", step.loss));
                if self.lines && step.step % self.every == 0 {
                    eprintln!("{}", step_line(step));
                }
            }
            Event::Eval(eval) => {
                self.write("eval", json!(eval));
                if self.lines {
                    eprintln!("{}", eval_line(eval));
                } else {
                    self.bar.println(eval_line(eval));
                }
            }
            Event::Checkpoint { step } => self.write("checkpoint", json!({ "step": step })),
        }
    }

    fn write(&self, kind: &str, mut line: Value) {
        line["kind"] = kind.into();
        // Metrics are a record, not the result: a full disk stops the run at the next checkpoint, with a clear error.
        let _ = writeln!(self.log.borrow_mut(), "{line}");
    }
}

fn step_line(step: &StepReport) -> String {
    format!(
        "step {:>6}  loss {:.4}  |v| {:.4}  gradient {:.3}  lr {:.2e}  {:.0} tokens/s",
        step.step, step.loss, step.value_norm, step.gradient_norm, step.learning_rate, step.tokens_per_second
    )
}

fn eval_line(eval: &EvalReport) -> String {
    let base = eval.base.as_deref().unwrap_or("the model");
    match eval.base_loss {
        Some(alone) => {
            format!(
                "step {:>6}  held out: {base} alone {alone:.4}, with the value {:.4}",
                eval.step, eval.loss
            )
        }
        None => format!("step {:>6}  held out: {base} {:.4}", eval.step, eval.loss),
    }
}

fn card(config: &TrainConfig, trained: &Trained, parts: CardParts, data: String, rows: usize) -> ValueCard {
    ValueCard {
        format: FORMAT,
        connection: config.value.connection,
        bases: parts.bases,
        tokenizer: parts.tokenizer,
        regularization: regularization(config),
        alpha: 1.0,
        chat_template: parts.template,
        data,
        rows,
        steps: trained.steps,
        tokens: trained.tokens,
        evals: trained.evals.iter().filter_map(EvalCard::new).collect(),
        train_loss: trained.last.as_ref().map(|last| last.loss),
        ivl: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Everything that was to keep the value from leaning on its bases.
fn regularization(config: &TrainConfig) -> Map<String, Value> {
    let mut settings = match json!(config.regularization) {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    if config.bases.len() > 1 {
        settings.insert("mixing".to_owned(), json!(config.mixing));
    }
    settings
}

struct Saver {
    json: Map<String, Value>,
    source: PathBuf,
    template: Option<ChatTemplate>,
}

impl Saver {
    /// Writes the value's directory. `config.json` comes last: without it the directory is no checkpoint.
    fn save(&self, value: &Transformer, card: Option<&ValueCard>, output: &Path) -> Result<()> {
        for name in TOKENIZER_FILES {
            let from = self.source.join(name);
            if from.is_file() {
                let bytes =
                    std::fs::read(&from).with_context(|| format!("cannot read `{}`", from.display()))?;
                ivl_models::write_bytes(&output.join(name), &bytes)?;
            }
        }
        if let Some(template) = &self.template {
            ivl_models::write_bytes(&output.join("chat_template.jinja"), template.source().as_bytes())?;
        }
        if let Some(card) = card {
            card.write(output)?;
        }
        save(value, &self.json, output)?;
        Ok(())
    }
}

fn summarize(config: &TrainConfig, trained: &Trained, common: &Common) {
    if common.json {
        let report = json!({
            "output": config.output,
            "steps": trained.steps,
            "tokens": trained.tokens,
            "train": trained.last,
            "evals": trained.evals,
        });
        println!("{report}");
        return;
    }
    println!("wrote {} after {} steps", config.output.display(), trained.steps);
    for eval in &trained.evals {
        println!("{}", eval_line(eval));
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
