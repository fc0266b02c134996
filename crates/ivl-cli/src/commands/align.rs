//! `ivl align`: a vocabulary map and how much it covers.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use ivl_align::{
    Alignment, CooccurrenceCounter, CooccurrenceCounts, MapFile, Method, Pairing, TextPair, align,
};
use ivl_core::{Error, Vocab};
use ivl_models::{Checkpoint, Tokenizer, write_bytes};
use serde::Serialize;
use serde_json::json;

use crate::args::{Align, Common};
use crate::corpus::Corpus;
use crate::hub::resolve;
use crate::other_vocabulary::method;
use crate::progress::bar;

/// One of the two vocabularies.
struct Side {
    name: String,
    tokenizer: Tokenizer,
    vocab: Vocab,
}

pub fn run(args: &Align, common: &Common) -> Result<()> {
    let method = method(&args.method).with_context(|| format!("--method is `{}`", args.method))?;
    let mut corpus = args.corpus.as_deref().map(Corpus::open).transpose()?;
    if method.needs().is_some() && corpus.is_none() {
        bail!("--method {method} counts which tokens meet in texts: give some with --corpus FILE");
    }
    let (base, value) = (Side::load(&args.from)?, Side::load(&args.to)?);
    let counted = corpus.as_mut().map(|corpus| count(corpus, &base, &value, method, common)).transpose()?;
    let (evidence, spent) = counted.unzip();
    let began = Instant::now();
    let progress = bar(common, base.vocab.size() as u64, "aligning {bar:30} {pos}/{len}");
    let step = |count: usize| progress.inc(count as u64);
    let alignment = align(&base.vocab, &value.vocab, method, evidence.as_ref(), &step)
        .with_context(|| format!("cannot align `{}` with `{}`", base.name, value.name))?;
    progress.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    write_bytes(&args.out, &MapFile::new(&alignment).to_bytes()?)?;
    report(args, &alignment, (seconds, spent), common);
    Ok(())
}

impl Side {
    /// A checkpoint, or a directory with a tokenizer alone.
    fn load(name: &str) -> Result<Self> {
        let dir = resolve(name)?;
        if dir.join("config.json").is_file() {
            let checkpoint = Checkpoint::open(&dir)?;
            let tokenizer = checkpoint.tokenizer()?;
            let vocab = checkpoint.vocab(&tokenizer)?;
            return Ok(Self { name: name.to_owned(), tokenizer, vocab });
        }
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            bail!(
                "`{name}` has neither config.json nor tokenizer.json; expected a checkpoint or a tokenizer"
            );
        }
        let tokenizer = Tokenizer::from_file(&path)?;
        let vocab = tokenizer.vocab();
        Ok(Self { name: name.to_owned(), tokenizer, vocab })
    }
}

/// Seconds that were spent on a corpus.
#[derive(Debug, Default, Serialize)]
struct Spent {
    tokenizing: f64,
    counting: f64,
}

/// Counts the corpus piece by piece. Texts that one of the tokenizers cannot write are left out and reported.
fn count(
    corpus: &mut Corpus,
    base: &Side,
    value: &Side,
    method: Method,
    common: &Common,
) -> Result<(CooccurrenceCounts, Spent)> {
    let progress = bar(common, corpus.size, "counting {bar:30} {bytes}/{total_bytes}, {eta} left");
    let pairing = method.needs().unwrap_or(Pairing::SameStart);
    let mut counter = CooccurrenceCounter::new(&base.vocab, &value.vocab, pairing);
    let mut spent = Spent::default();
    let (mut texts, mut lost, mut first): (usize, usize, Option<Error>) = (0, 0, None);
    while let Some(piece) = corpus.next_piece()? {
        let began = Instant::now();
        let written = TextPair::write_all(&piece.texts, &base.tokenizer, &value.tokenizer);
        spent.tokenizing += began.elapsed().as_secs_f64();
        texts += written.len();
        let mut pairs = Vec::with_capacity(written.len());
        for text in written {
            match text {
                Ok(pair) => pairs.push(pair),
                Err(error) => {
                    lost += 1;
                    first.get_or_insert(error);
                }
            }
        }
        let began = Instant::now();
        counter.count(&pairs);
        spent.counting += began.elapsed().as_secs_f64();
        progress.inc(piece.bytes);
    }
    progress.finish_and_clear();
    if texts == lost {
        let error = first.map_or_else(|| anyhow::anyhow!("it holds no text"), anyhow::Error::from);
        return Err(error.context("no text of the corpus can be used"));
    }
    if let (Some(error), false) = (first, common.quiet) {
        eprintln!("{lost} of {texts} texts were left out; the first: {error}");
    }
    Ok((counter.finish(), spent))
}

fn report(args: &Align, alignment: &Alignment, (seconds, spent): (f64, Option<Spent>), common: &Common) {
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
            "corpus_seconds": spent,
            "base_fingerprint": base,
            "value_fingerprint": value,
            "out": args.out,
        });
        println!("{report}");
        return;
    }
    print!("{coverage}");
    println!("wrote {} ({}, {seconds:.2} s)", args.out.display(), alignment.method);
}
