//! `ivl score`: log-likelihood of texts, token by token.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ivl::core::Vocab;
use ivl::{MaskedText, Score, TextReader, readable_token};
use serde_json::{Value, json};

use crate::args;
use crate::args::Common;
use crate::models;
use crate::output::stdout;
use crate::progress::bar;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

pub fn run(args: &args::Score, common: &Common) -> Result<()> {
    if args.batch_size == 0 {
        bail!("--batch-size is 0, expected at least 1");
    }
    let input = match (&args.text, &args.file) {
        (Some(text), _) => Input::Texts(vec![(String::from("--text"), text.clone())]),
        (None, Some(path)) if holds_texts(path)? => Input::Texts(read_texts(path)?),
        (None, Some(path)) => Input::Demonstrations(path),
        (None, None) => Input::Texts(Vec::new()),
    };
    let prepared = models::builder(&args.models, None, common)?.prepare()?;
    let texts = match &input {
        Input::Texts(texts) => masked_texts(texts, &prepared.reader())?,
        Input::Demonstrations(path) => prepared.reader().masked_rows(path)?,
    };
    let model = models::load(prepared, &args.models, common)?;
    let bar = bar(common, texts.len() as u64, "scoring {bar:30} {pos}/{len}");
    let mut out = stdout();
    let mut total = Total::default();
    for batch in texts.chunks(args.batch_size) {
        let first = batch[0].origin.as_deref().unwrap_or("the text");
        let scores = model.score_masked(batch).with_context(|| format!("cannot score {first}"))?;
        for score in &scores {
            print(&mut out, score, model.vocab(), common)?;
            total.add(score);
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    if let Input::Demonstrations(_) = input {
        total.print(&mut out, common)?;
    }
    Ok(())
}

/// The scored texts.
enum Input<'a> {
    /// Whole texts, each with its origin.
    Texts(Vec<(String, String)>),
    /// Rows in a format of demonstrations: their responses are scored, as training learns them.
    Demonstrations(&'a Path),
}

fn masked_texts(texts: &[(String, String)], reader: &TextReader<'_>) -> Result<Vec<MaskedText>> {
    let mut masked = Vec::with_capacity(texts.len());
    for (origin, text) in texts {
        let mut text = reader.masked_text(text).with_context(|| origin.clone())?;
        if text.ids.is_empty() {
            bail!("{origin}: the text is empty, so there is nothing to score");
        }
        text.origin = Some(origin.clone());
        masked.push(text);
    }
    Ok(masked)
}

/// The held-out loss of the responses.
#[derive(Default)]
struct Total {
    sum: f64,
    tokens: usize,
    rows: usize,
}

impl Total {
    fn add(&mut self, score: &Score) {
        self.sum += score.sum();
        self.tokens += score.predicted();
        self.rows += 1;
    }

    fn print(&self, out: &mut impl Write, common: &Common) -> Result<()> {
        let loss = (self.tokens > 0).then(|| -self.sum / self.tokens as f64);
        let perplexity = loss.map(f64::exp);
        if common.json {
            let total = json!({
                "rows": self.rows, "tokens": self.tokens, "loss": loss, "perplexity": perplexity,
            });
            writeln!(out, "{}", json!({ "total": total }))?;
            return Ok(());
        }
        let shown = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
        writeln!(
            out,
            "{} rows: loss {} on {} tokens of responses, perplexity {}",
            self.rows,
            shown(loss),
            self.tokens,
            shown(perplexity)
        )?;
        Ok(())
    }
}

/// Whether a file is JSONL of texts: its first line is a string, or an object with `text`.
fn holds_texts(path: &Path) -> Result<bool> {
    if path.extension().is_none_or(|extension| extension != "jsonl") || path.is_dir() {
        return Ok(false);
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut line = String::new();
    let mut reader = BufReader::new(file.take(LONGEST_LINE));
    while line.trim().is_empty() {
        line.clear();
        if reader.read_line(&mut line).is_ok_and(|read| read == 0) {
            return Ok(true);
        }
    }
    let first = serde_json::from_str::<Value>(&line).ok();
    Ok(first.is_none_or(|first| !first.is_object() || first.get("text").is_some()))
}

fn print(out: &mut impl Write, score: &Score, vocab: &Vocab, common: &Common) -> Result<()> {
    let ids = &score.ids;
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
