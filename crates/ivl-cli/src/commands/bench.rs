//! `ivl bench`: the speed of a model against the limits of the machine's memory and arithmetic.

use std::io::Write;

use anyhow::{Result, bail};
use ivl::bench::{Bench, BenchConfig, BenchRow};
use serde_json::{Value, json};

use crate::args::{self, Common, Measure};
use crate::models::open_options;
use crate::output::stdout;

pub fn run(args: &args::Bench, common: &Common) -> Result<()> {
    check(args)?;
    let config = BenchConfig::default()
        .measures(args.measure.iter().copied().map(measure).collect())
        .rows(args.rows.clone())
        .context(args.context)
        .tokens(args.tokens)
        .prompt(args.prompt)
        .rounds(args.rounds)
        .seed(common.seed.unwrap_or_default())
        .options(open_options(common));
    let bench = Bench::open(&args.model, args.value.as_deref(), &config)?;
    let (name, device, dtype) = (bench.name(), &common.device, bench.dtype_name());
    let mut out = stdout();
    if !common.json {
        writeln!(out, "{name}, {dtype} on {device}\n{}", header())?;
    }
    bench.run(&mut |row| {
        if common.json {
            let mut object = as_json(row, name);
            object["device"] = device.as_str().into();
            object["dtype"] = dtype.as_str().into();
            object["threads"] = ivl::bench::threads().into();
            writeln!(out, "{object}")
        } else {
            writeln!(out, "{}", as_line(row))
        }
    })?;
    Ok(())
}

fn measure(measure: Measure) -> ivl::bench::Measure {
    match measure {
        Measure::Fused => ivl::bench::Measure::Fused,
        Measure::Decode => ivl::bench::Measure::Decode,
        Measure::Prefill => ivl::bench::Measure::Prefill,
        Measure::Score => ivl::bench::Measure::Score,
        Measure::Train => ivl::bench::Measure::Train,
    }
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
        bail!("--measure fused compares decoding with and without a value; add --value");
    }
    Ok(())
}

fn as_json(row: &BenchRow, model: &str) -> Value {
    json!({
        "model": model,
        "measure": row.measure,
        "rows": row.rows,
        "tokens": row.tokens,
        "tokens_per_second": row.speed(),
        "ceiling": { "of": row.bound.name(), "tokens_per_second": row.ceiling() },
        "share_of_ceiling": row.share(),
        "rounds": row.rounds.len(),
        "memory": { "first": row.memory[0].json(), "last": row.memory[1].json() },
    })
}

/// A line of the table on a terminal.
fn as_line(row: &BenchRow) -> String {
    format!(
        "{:14} {:>5} {:>12.1} {:>12.1}  {:>16} {:>12}",
        row.measure,
        row.rows,
        row.speed(),
        row.ceiling(),
        format!("{:.2} of {}", row.share(), row.bound.name()),
        row.memory[1].of_tensors().map_or(String::new(), |mib| format!("{mib:.0} MiB")),
    )
}

/// The headings of the columns of a [line](as_line).
fn header() -> String {
    format!("{:14} {:>5} {:>12} {:>12}  {:>16} {:>12}", "", "rows", "tokens/s", "ceiling", "share", "memory")
}
