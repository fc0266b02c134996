//! `ivl data export`: what a run would see, as files for trainers outside of ivl.

use std::io::{Write, stdout};

use anyhow::{Context, Result, bail};
use ivl::DataExport;
use ivl::train::ExampleShard;
use serde_json::json;

use super::train::{Display, read_config};
use crate::args::{Common, Export};
use crate::models::open_options;

pub fn export(args: &Export, common: &Common) -> Result<()> {
    let described = args.out.join(DataExport::FILE);
    if described.exists() && !args.force {
        bail!("`{}` holds an export already; --force replaces it", args.out.display());
    }
    let config = read_config(&args.config, &args.set, common)?;
    let text =
        std::fs::read(&args.config).with_context(|| format!("cannot read `{}`", args.config.display()))?;
    // An export that is being replaced is not whole.
    if described.exists() {
        std::fs::remove_file(&described)
            .with_context(|| format!("cannot replace `{}`", described.display()))?;
    }
    let mut display = Display::new(common);
    let options = open_options(common);
    let export = DataExport::write(&config, &text, &args.out, &options, move |event| display.show(&event))?;
    let tokens = |shards: &[ExampleShard]| shards.iter().map(|shard| shard.tokens).sum::<usize>();
    let examples = |shards: &[ExampleShard]| shards.iter().map(|shard| shard.examples).sum::<usize>();
    let (train, eval) = (&export.train, &export.eval);
    let mut out = stdout().lock();
    if common.json {
        let line = json!({
            "out": args.out, "steps": export.steps,
            "train": { "examples": examples(train), "tokens": tokens(train) },
            "eval": { "examples": examples(eval), "tokens": tokens(eval) },
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "wrote {} steps on {} examples ({} tokens), and {} held-out examples, to {}",
        export.steps,
        examples(train),
        tokens(train),
        examples(eval),
        args.out.display()
    )?;
    Ok(())
}
