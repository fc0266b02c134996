//! `ivl bench`: how fast a model runs here, beside what the memory and the arithmetic of the machine allow.

mod costs;
mod floor;
mod measure;
mod row;
mod shape;
mod training;

use std::io::Write;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device};
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::{TransformerLm, Weights};
use ivl_train::Precision;

use self::costs::Costs;
use self::floor::Floor;
use self::measure::{Decoding, prefill, scoring};
use self::row::{Bound, Row};
use self::shape::Model;
use self::training::{ROWS, Training};
use crate::args::{self, Common, Measure};
use crate::device::{device, dtype, in_software};

/// Texts that are scored together.
const TEXTS: usize = 8;

/// What is measured on what, for reports.
pub struct Setting {
    pub name: String,
    pub device: String,
    pub dtype: String,
}

/// One run of the command.
struct Bench<'a> {
    args: &'a args::Bench,
    floor: Floor,
    device: Device,
    setting: Setting,
    json: bool,
}

pub fn run(args: &args::Bench, common: &Common) -> Result<()> {
    check(args)?;
    let (device, weights) = (device(common)?, dtype(common));
    let model = Model::open(&args.model, &device, common)?;
    let value = args.value.as_ref().map(|name| Model::open(name, &device, common)).transpose()?;
    let mut costs = vec![Costs::of(&model)];
    costs.extend(value.as_ref().map(Costs::of));
    let bytes = costs.iter().map(|costs| costs.bytes as usize).sum();
    let floor = Floor::new(bytes, weights, in_software(common), &device)?;
    let setting = Setting {
        name: std::iter::once(&model).chain(&value).map(|model| &*model.name).collect::<Vec<_>>().join(" + "),
        device: common.device.clone(),
        dtype: weights.name().to_owned(),
    };
    let bench = Bench { args, floor, device: device.clone(), setting, json: common.json };
    bench.begin()?;
    let base = TransformerLm::new(model.net, model.vocab, &model.name);
    match value {
        None => bench.measure(&base, costs[0])?,
        Some(value) => {
            let value_lm = TransformerLm::new(value.net, value.vocab, &value.name);
            let values = vec![Value::new(Box::new(value_lm), 1.0)];
            let fused = FusedLm::new(Box::new(base.clone()), values)?;
            if args.measure.contains(&Measure::Fused) {
                bench.against_base(&base, &fused, &costs)?;
            }
            bench.measure(&fused, costs[0].plus(costs[1]))?;
        }
    }
    if args.measure.contains(&Measure::Train) {
        let name = args.value.as_ref().context("--measure train needs --value, which is trained")?;
        let value = Model::to_train(name, &device.autodiff(), common)?;
        let precision = match weights {
            Weights::Tensors(DType::BF16) => Precision::Bf16,
            _ => Precision::F32,
        };
        bench.train(Training::new(&base, value, args.context, precision)?, &costs)?;
    }
    Ok(())
}

fn check(args: &args::Bench) -> Result<()> {
    for (name, number) in [
        ("--context", args.context),
        ("--tokens", args.tokens),
        ("--prompt", args.prompt),
        ("--rounds", args.rounds),
    ] {
        if number == 0 {
            bail!("{name} is 0, expected at least 1");
        }
    }
    if args.rows.contains(&0) {
        bail!("--rows holds 0, expected numbers of rows");
    }
    if args.measure.contains(&Measure::Train) && args.value.is_none() {
        bail!("--measure train is a step of a value against the model; add --value");
    }
    if args.measure.iter().all(|&measure| measure == Measure::Fused) && args.value.is_none() {
        bail!("--measure fused is decoding with a value beside the model alone; add --value");
    }
    Ok(())
}

impl Bench<'_> {
    /// What is measured on what, above the table.
    fn begin(&self) -> Result<()> {
        if !self.json {
            let Setting { name, device, dtype } = &self.setting;
            writeln!(std::io::stdout(), "{name}, {dtype} on {device}\n{}", Row::header())?;
        }
        Ok(())
    }

    /// Prints a row as soon as it is there: who stops waiting for the next has this one.
    fn show(&self, row: &Row) -> Result<()> {
        let line = if self.json { row.json(&self.setting).to_string() } else { row.line() };
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }

    /// Whatever was asked for of one model.
    fn measure(&self, lm: &dyn CausalLm, costs: Costs) -> Result<()> {
        let (args, floor) = (self.args, &self.floor);
        let asked = |measure: Measure| args.measure.contains(&measure);
        let rounds = (args.rounds, &self.device);
        if asked(Measure::Decode) {
            for &rows in &args.rows {
                let mut decoding = Decoding::new(lm, rows, args.context)?;
                self.show(&Row::measure(("decode", Bound::Read), [rows, args.tokens], rounds, || {
                    let (step, floor) = (decoding.step(args.tokens)?, costs.read(floor)?);
                    Ok((rows as f64 / step, rows as f64 / floor))
                })?)?;
            }
        }
        let len = args.prompt;
        if asked(Measure::Prefill) {
            self.show(&Row::measure(("prefill", Bound::Multiply), [1, len], rounds, || {
                Ok((len as f64 / prefill(lm, len)?, len as f64 / costs.multiply(len, 1, floor)?))
            })?)?;
        }
        let tokens = TEXTS * len;
        if asked(Measure::Score) {
            self.show(&Row::measure(("score", Bound::Multiply), [TEXTS, tokens], rounds, || {
                let floor = costs.multiply(tokens, tokens, floor)?;
                Ok((tokens as f64 / scoring(lm, TEXTS, len)?, tokens as f64 / floor))
            })?)?;
        }
        Ok(())
    }

    /// Base and value, where the floor is the base's own speed and the share of the weights that are its own.
    fn against_base(&self, base: &dyn CausalLm, fused: &dyn CausalLm, costs: &[Costs]) -> Result<()> {
        let (args, share) = (self.args, costs[0].bytes / (costs[0].bytes + costs[1].bytes));
        let mut base = Decoding::new(base, 1, args.context)?;
        let mut fused = Decoding::new(fused, 1, args.context)?;
        let rounds = (args.rounds, &self.device);
        self.show(&Row::measure(("fused decode", Bound::Read), [1, args.tokens], rounds, || {
            Ok((1.0 / fused.step(args.tokens)?, share / base.step(args.tokens)?))
        })?)?;
        Ok(())
    }

    /// A training step. Its floor is a forward pass of the base, and three times that of the value.
    fn train(&self, mut training: Training, costs: &[Costs]) -> Result<()> {
        let (tokens, floor) = (ROWS * self.args.context, &self.floor);
        let rounds = (self.args.rounds, &self.device);
        self.show(&Row::measure(("training step", Bound::Multiply), [ROWS, tokens], rounds, || {
            let passes = costs[0].plus(costs[1].plus(costs[1]).plus(costs[1]));
            let floor = passes.multiply(tokens, tokens, floor)?;
            Ok((tokens as f64 / training.step()?, tokens as f64 / floor))
        })?)?;
        Ok(())
    }
}
