//! `ivl align`: a vocabulary map and how much it covers.

use std::io::Write;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use ivl::align::MapFile;
use ivl::models::write_bytes;
use ivl::{AlignEvent, ModelAlignment, align_models, alignment_method};
use serde_json::json;

use crate::args::{Align, Common};
use crate::notes::note;
use crate::output::stdout;
use crate::progress::bar;

pub fn run(args: &Align, common: &Common) -> Result<()> {
    let method = alignment_method(&args.method).with_context(|| format!("--method is `{}`", args.method))?;
    if method.needs().is_some() && args.corpus.is_none() {
        bail!("--method {method} counts which tokens meet in texts: give some with --corpus FILE");
    }
    let counting = bar(common, 0, "counting {bar:30} {bytes}/{total_bytes}, {left} left");
    let aligning = bar(common, 0, "aligning {bar:30} {pos}/{len}");
    let aligned = align_models(&args.from, &args.to, method, args.corpus.as_deref(), &|event| {
        show(&event, &counting, &aligning, common);
    })?;
    aligning.finish_and_clear();
    write_bytes(&args.out, &MapFile::new(&aligned.alignment).to_bytes()?)?;
    report(args, &aligned, common)
}

fn show(event: &AlignEvent, counting: &ProgressBar, aligning: &ProgressBar, common: &Common) {
    match event {
        AlignEvent::Counting { done, total } => {
            counting.set_length(*total);
            counting.set_position(*done);
        }
        AlignEvent::TextsLeftOut { left_out, texts, first } if !common.quiet => {
            note(format_args!("{left_out} of {texts} texts were left out; the first: {first}"));
        }
        AlignEvent::Aligning { total } => {
            counting.finish_and_clear();
            aligning.set_length(*total as u64);
        }
        AlignEvent::Aligned { more } => aligning.inc(*more as u64),
        _ => {}
    }
}

fn report(args: &Align, aligned: &ModelAlignment, common: &Common) -> Result<()> {
    let mut out = stdout();
    let (alignment, seconds) = (&aligned.alignment, aligned.seconds);
    let coverage = &alignment.coverage;
    if common.json {
        let (base, value) = alignment.map.fingerprints();
        let report = json!({
            "from": args.from,
            "to": args.to,
            "method": alignment.method,
            "tokens": coverage.tokens,
            "corpus": coverage.corpus,
            "examples": coverage.examples,
            "seconds": seconds,
            "corpus_seconds": aligned.corpus_seconds,
            "base_fingerprint": base,
            "value_fingerprint": value,
            "out": args.out,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    write!(out, "{coverage}")?;
    writeln!(out, "wrote {} ({}, {seconds:.2} s)", args.out.display(), alignment.method)?;
    Ok(())
}
