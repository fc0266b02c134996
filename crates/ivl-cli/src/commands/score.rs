//! `ivl score`: log-likelihood of texts, token by token.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl::core::Vocab;
use ivl::{Score, readable_token};
use serde_json::{Value, json};

use crate::args;
use crate::args::Common;
use crate::models;
use crate::progress::bar;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

pub fn run(args: &args::Score, common: &Common) -> Result<()> {
    let texts = match (&args.text, &args.file) {
        (Some(text), _) => vec![(String::from("--text"), text.clone())],
        (None, Some(path)) => read_texts(path)?,
        (None, None) => Vec::new(),
    };
    if args.batch_size == 0 {
        bail!("--batch-size is 0, expected at least 1");
    }
    let model = models::open(&args.models, None, common)?;
    let mut sequences = Vec::with_capacity(texts.len());
    for (origin, text) in &texts {
        let ids = model.encode_text(text).with_context(|| origin.clone())?;
        if ids.is_empty() {
            bail!("{origin}: the text is empty, so there is nothing to score");
        }
        sequences.push(ids);
    }
    let bar = bar(common, sequences.len() as u64, "scoring {bar:30} {pos}/{len}");
    let mut out = std::io::stdout().lock();
    for (batch, origins) in sequences.chunks(args.batch_size).zip(texts.chunks(args.batch_size)) {
        let scores = model.score_tokens(batch).with_context(|| format!("cannot score {}", origins[0].0))?;
        for (ids, score) in batch.iter().zip(&scores) {
            print(&mut out, ids, score, model.vocab(), common)?;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

fn print(out: &mut impl Write, ids: &[u32], score: &Score, vocab: &Vocab, common: &Common) -> Result<()> {
    let tokens: Vec<String> = ids.iter().map(|&id| readable_token(vocab, id)).collect();
    if common.json {
        let object = json!({
            "ids": ids,
            "tokens": tokens,
            "logprobs": score.logprobs,
            "sum": score.sum(),
            "perplexity": score.perplexity(),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    if common.verbose {
        for (token, logprob) in tokens.iter().zip(&score.logprobs) {
            match logprob {
                Some(logprob) => writeln!(out, "{logprob:>10.4}  {token:?}")?,
                None => writeln!(out, "{:>10}  {token:?}", "")?,
            }
        }
    }
    let perplexity = score.perplexity().map_or_else(|| "-".to_owned(), |p| format!("{p:.4}"));
    writeln!(out, "sum {:.4}  perplexity {perplexity}  tokens {}", score.sum(), ids.len())?;
    Ok(())
}

fn read_texts(path: &Path) -> Result<Vec<(String, String)>> {
    let context = || format!("cannot read `{}`", path.display());
    let mut reader = BufReader::new(std::fs::File::open(path).with_context(context)?);
    let mut texts = Vec::new();
    for line in 1.. {
        let mut bytes = Vec::new();
        let read =
            reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes).with_context(context)?
                as u64;
        if read == 0 {
            break;
        }
        let origin = format!("line {line} of `{}`", path.display());
        if read > LONGEST_LINE {
            bail!("{origin} is longer than {LONGEST_LINE} bytes");
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("{origin} is not JSON"))?;
        let text = value.as_str().or_else(|| value.get("text").and_then(Value::as_str));
        let text =
            text.with_context(|| format!("{origin} has no text, expected {{\"text\": \"..\"}} or \"..\""))?;
        texts.push((origin, text.to_owned()));
    }
    if texts.is_empty() {
        bail!("`{}` holds no text to score", path.display());
    }
    Ok(texts)
}
