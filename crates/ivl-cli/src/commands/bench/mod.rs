//! `ivl bench`: how fast a model runs here, beside what the memory and the arithmetic of the machine allow.

mod floor;
mod measure;
mod shape;
mod training;

use std::io::Write;

use anyhow::{Result, bail};
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::TransformerLm;
use serde_json::{Value as Json, json};

use self::floor::Floor;
use self::measure::{Decoding, prefill, scoring};
use self::shape::Model;
use self::training::{ROWS, Training};
use crate::args;
use crate::args::Common;
use crate::device::{device, dtype};

/// What bounds a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Weights are read once for all rows of a step.
    Read,
    /// Every token is multiplied with every weight.
    Multiply,
}

/// One row of the table.
struct Row {
    measure: &'static str,
    rows: usize,
    tokens: usize,
    /// Tokens in a second, and what the floor of the same round allows.
    rounds: Vec<(f64, f64)>,
    bound: Bound,
}

/// Weights of a model, as its floors count them.
#[derive(Clone, Copy)]
struct Costs {
    /// Bytes read for a step.
    bytes: f64,
    /// Weights that the hidden states of a token are multiplied with, and those of the head.
    weights: [f64; 2],
}

impl Costs {
    fn of(model: &Model) -> Self {
        let (bytes, [body, head]) = (model.net.bytes_of_step(), model.net.multiplied_weights());
        Self { bytes: bytes as f64, weights: [body as f64, head as f64] }
    }

    fn plus(self, other: Self) -> Self {
        let weights = [self.weights[0] + other.weights[0], self.weights[1] + other.weights[1]];
        Self { bytes: self.bytes + other.bytes, weights }
    }

    /// Seconds for a step that reads every weight once.
    fn read(self, floor: &Floor) -> f64 {
        self.bytes / floor.read()
    }

    /// Seconds to multiply `tokens` with the body and `heads` of them with the head.
    fn multiply(self, tokens: usize, heads: usize, floor: &Floor) -> f64 {
        2.0 * (tokens as f64 * self.weights[0] + heads as f64 * self.weights[1]) / floor.multiply()
    }
}

pub fn run(args: &args::Bench, common: &Common) -> Result<()> {
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
    let device = device(common)?;
    let model = Model::open(&args.model, &device, common)?;
    let value = args.value.as_ref().map(|name| Model::open(name, &device, common)).transpose()?;
    let mut costs = vec![Costs::of(&model)];
    costs.extend(value.as_ref().map(Costs::of));
    let floor = Floor::new(costs.iter().map(|costs| costs.bytes as usize).sum(), dtype(common), &device);
    let name = match &value {
        Some(value) => format!("{} + {}", model.name, value.name),
        None => model.name.clone(),
    };
    let lm = TransformerLm::new(model.net, model.vocab, &model.name);
    let mut table = Vec::new();
    let learner = match (&args.value, args.train) {
        (Some(name), true) => Some(Model::to_train(name, &device.clone().autodiff(), common)?),
        (None, true) => bail!("--train measures a step of a value against the model; add --value"),
        (_, false) => None,
    };
    match value {
        None => measure(&lm, costs[0], args, &floor, &mut table)?,
        Some(value) => {
            let base = lm.clone();
            let value_lm = TransformerLm::new(value.net, value.vocab, &value.name);
            let fused = FusedLm::new(Box::new(lm), vec![Value::new(Box::new(value_lm), 1.0)])?;
            table.push(against_base(&base, &fused, &costs, args));
            measure(&fused, costs[0].plus(costs[1]), args, &floor, &mut table)?;
            if let Some(learner) = learner {
                table.push(train(&base, learner, &costs, args, &floor)?);
            }
        }
    }
    print(&name, &table, common)
}

/// Every measurement of one model.
fn measure(
    lm: &dyn CausalLm,
    costs: Costs,
    args: &args::Bench,
    floor: &Floor,
    table: &mut Vec<Row>,
) -> Result<()> {
    for rows in std::iter::once(1).chain(args.rows.iter().copied()) {
        let mut decoding = Decoding::new(lm, rows, args.context);
        // The first steps find room in the cache.
        decoding.step(1);
        let round = |_| {
            let floor = costs.read(floor);
            (rows as f64 / decoding.step(args.tokens), rows as f64 / floor)
        };
        let rounds = (0..args.rounds).map(round).collect();
        table.push(Row { measure: "decode", rows, tokens: args.tokens, rounds, bound: Bound::Read });
    }
    let len = args.prompt;
    prefill(lm, len);
    let round = |_| (len as f64 / prefill(lm, len), len as f64 / costs.multiply(len, 1, floor));
    let rounds = (0..args.rounds).map(round).collect();
    table.push(Row { measure: "prefill", rows: 1, tokens: len, rounds, bound: Bound::Multiply });
    let rows = 8;
    let round = |_| -> Result<_> {
        let tokens = rows * len;
        let floor = costs.multiply(tokens, tokens, floor);
        Ok((tokens as f64 / scoring(lm, rows, len)?, tokens as f64 / floor))
    };
    let rounds = (0..args.rounds).map(round).collect::<Result<_>>()?;
    table.push(Row { measure: "score", rows, tokens: rows * len, rounds, bound: Bound::Multiply });
    Ok(())
}

/// Base and value, where the floor is the base's own speed and the share of the weights that are its own.
fn against_base(base: &dyn CausalLm, fused: &dyn CausalLm, costs: &[Costs], args: &args::Bench) -> Row {
    let share = costs[0].bytes / (costs[0].bytes + costs[1].bytes);
    let (mut base, mut fused) = (Decoding::new(base, 1, args.context), Decoding::new(fused, 1, args.context));
    base.step(1);
    fused.step(1);
    let round = |_| (1.0 / fused.step(args.tokens), share / base.step(args.tokens));
    let rounds = (0..args.rounds).map(round).collect();
    Row { measure: "fused decode", rows: 1, tokens: args.tokens, rounds, bound: Bound::Read }
}

/// A training step. Its floor is a forward pass of the base, and three times that of the value.
fn train(
    base: &TransformerLm,
    value: Model,
    costs: &[Costs],
    args: &args::Bench,
    floor: &Floor,
) -> Result<Row> {
    let tokens = ROWS * args.context;
    let mut training = Training::new(base, value, args.context)?;
    training.step()?;
    let round = |_| -> Result<_> {
        let floor = costs[0].multiply(tokens, tokens, floor) + 3.0 * costs[1].multiply(tokens, tokens, floor);
        Ok((tokens as f64 / training.step()?, tokens as f64 / floor))
    };
    let rounds = (0..args.rounds).map(round).collect::<Result<_>>()?;
    Ok(Row { measure: "training step", rows: ROWS, tokens, rounds, bound: Bound::Multiply })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

impl Row {
    fn speed(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0).collect())
    }

    fn floor(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.1).collect())
    }

    /// The median of each round's share of its floor.
    fn share(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.0 / round.1).collect())
    }

    fn json(&self, model: &str, common: &Common) -> Json {
        json!({
            "model": model,
            "measure": self.measure,
            "rows": self.rows,
            "tokens": self.tokens,
            "tokens_per_second": self.speed(),
            "floor": {
                "of": match self.bound { Bound::Read => "memory", Bound::Multiply => "arithmetic" },
                "tokens_per_second": self.floor(),
            },
            "share_of_floor": self.share(),
            "rounds": self.rounds.len(),
            "device": common.device,
            "dtype": format!("{:?}", common.dtype).to_lowercase(),
            "threads": ivl_kernels::threads(),
        })
    }
}

fn print(model: &str, table: &[Row], common: &Common) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if common.json {
        for row in table {
            writeln!(out, "{}", row.json(model, common))?;
        }
        return Ok(());
    }
    writeln!(out, "{model}\n{:14} {:>5} {:>12} {:>12}  share", "", "rows", "tokens/s", "floor")?;
    for row in table {
        let bound = match row.bound {
            Bound::Read => "memory",
            Bound::Multiply => "arithmetic",
        };
        writeln!(
            out,
            "{:14} {:>5} {:>12.1} {:>12.1}  {:.2} of {bound}",
            row.measure,
            row.rows,
            row.speed(),
            row.floor(),
            row.share()
        )?;
    }
    Ok(())
}
