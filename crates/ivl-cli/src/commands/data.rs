//! `ivl data preview`: what a run would learn from.

use std::io::{StdoutLock, Write, stdout};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ivl_core::Vocab;
use ivl_train::{
    Batching, DataConfig, Dataset, Encoder, Example, Examples, Filling, Plan, SourceReport, TrainConfig,
};
use serde_json::{Value, json};

use super::train::{OpenModels, read_config};
use crate::args::{Color, Common, Preview, Train};
use crate::color::is_colored;
use crate::demonstrations;
use crate::tokens::readable;

pub fn preview(args: &Preview, common: &Common) -> Result<()> {
    let train = Train { config: args.config.clone(), set: args.set.clone(), resume: false };
    let config = read_config(&train, common)?;
    let models = OpenModels::open(&config)?;
    let (encoder, max_length) = (models.encoder(), models.max_length);
    let (sources, what) =
        if args.eval { (&config.data.eval, "data.eval") } else { (&config.data.train, "data.train") };
    if sources.is_empty() {
        bail!("`{what}` names no source");
    }
    let dataset = Dataset::open(sources)?;
    let page = Page::new(models.tokenizer().vocab(), common);
    page.show_examples(&dataset, &encoder, args.number)?;
    // What is lost stands in the statistics.
    let examples = demonstrations::tokenize(&dataset, &encoder, what, &config, common)?;
    page.show_statistics(&Statistics::new(&config, examples, max_length))
}

/// How the page is written.
struct Page {
    vocab: Vocab,
    json: bool,
    paint: Paint,
}

/// What is put around learnt and around given text.
struct Paint {
    learnt: [&'static str; 2],
    given: [&'static str; 2],
}

const COLOURED: Paint = Paint { learnt: ["\x1b[1;32m", "\x1b[0m"], given: ["\x1b[2m", "\x1b[0m"] };
const PLAIN: Paint = Paint { learnt: ["⟦", "⟧"], given: ["", ""] };

impl Page {
    fn new(vocab: Vocab, common: &Common) -> Self {
        let paint = if is_colored(Color::Auto) { COLOURED } else { PLAIN };
        Self { vocab, json: common.json, paint }
    }

    /// The first rows of every source.
    fn show_examples(&self, dataset: &Dataset, encoder: &Encoder<'_>, number: usize) -> Result<()> {
        let mut out = stdout().lock();
        for source in &dataset.sources {
            for row in source.rows().take(number) {
                let row = row?;
                let mut example = encoder.encode(&row)?;
                let length = example.ids.len();
                example.truncate(encoder.max_length());
                if self.json {
                    let line = json!({
                        "path": row.place.path, "number": row.place.number, "format": source.format(),
                        "ids": example.ids, "mask": mask(&example), "length": length,
                    });
                    writeln!(out, "{line}")?;
                    continue;
                }
                writeln!(
                    out,
                    "── {}, {}: {} tokens, {} learnt{}",
                    row.place,
                    source.format().name(),
                    example.ids.len(),
                    example.trained_tokens(),
                    if length > example.ids.len() { format!(", cut from {length}") } else { String::new() },
                )?;
                writeln!(out, "{}\n", self.painted(&example))?;
            }
        }
        Ok(())
    }

    /// The text of an example, with what is learnt apart. Bytes are put together first: a letter may take several tokens.
    fn painted(&self, example: &Example) -> String {
        let mut text = String::new();
        let tokens: Vec<(u32, bool)> = example.ids.iter().copied().zip(mask(example)).collect();
        for run in tokens.chunk_by(|a, b| a.1 == b.1) {
            let [open, close] = if run[0].1 { self.paint.learnt } else { self.paint.given };
            let bytes: Vec<u8> = run.iter().flat_map(|&(id, _)| self.bytes(id)).collect();
            text += open;
            text += &String::from_utf8_lossy(&bytes);
            text += close;
        }
        text
    }

    fn bytes(&self, id: u32) -> Vec<u8> {
        match self.vocab.token(id) {
            Some(token) => token.bytes.to_vec(),
            None => readable(&self.vocab, id).into_bytes(),
        }
    }

    fn show_statistics(&self, statistics: &Statistics) -> Result<()> {
        let mut out = stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "statistics": statistics.json() }))?;
            return Ok(());
        }
        let [open, close] = self.paint.learnt;
        writeln!(out, "{open}learnt{close} text is predicted under the loss; the rest is only read\n")?;
        statistics.show(&mut out).context("cannot write to standard output")
    }
}

/// What is learnt: the first token never is, since nothing precedes it.
fn mask(example: &Example) -> Vec<bool> {
    example.loss_mask.iter().enumerate().map(|(index, &learnt)| learnt && index > 0).collect()
}

/// What a run makes of its data.
struct Statistics {
    max_length: usize,
    reports: Vec<SourceReport>,
    /// Sorted lengths of all examples.
    lengths: Vec<u32>,
    batching: Batching,
    fillings: Vec<(Batching, Filling, usize)>,
}

impl Statistics {
    fn new(config: &TrainConfig, examples: Examples, max_length: usize) -> Self {
        let mut lengths: Vec<u32> = examples.shapes().iter().map(|shape| shape.tokens).collect();
        lengths.sort_unstable();
        let (reports, examples) = (examples.reports().to_vec(), Arc::new(examples));
        let filling = |batching| {
            let mut data: DataConfig = config.data.clone();
            data.batching = batching;
            let plan = Plan::training(examples.clone(), &config.steps, &data, config.seed);
            (batching, plan.filling(), plan.steps())
        };
        let fillings = [Batching::Random, Batching::ByLength, Batching::Packed].map(filling).to_vec();
        Self { max_length, reports, lengths, batching: config.data.batching, fillings }
    }

    fn quantile(&self, share: f64) -> u32 {
        let last = self.lengths.len().saturating_sub(1);
        self.lengths.get((share * last as f64).round() as usize).copied().unwrap_or(0)
    }

    fn json(&self) -> Value {
        let filling = |(batching, filling, steps): &(Batching, Filling, usize)| {
            json!({
                "batching": batching, "chosen": *batching == self.batching, "steps": steps, "passes": filling.micro_batches,
                "rows": filling.rows, "tokens": filling.tokens, "places": filling.places,
            })
        };
        json!({
            "max_length": self.max_length,
            "sources": self.reports,
            "lengths": { "median": self.quantile(0.5), "p90": self.quantile(0.9), "longest": self.quantile(1.0) },
            "batching": self.fillings.iter().map(filling).collect::<Vec<_>>(),
        })
    }

    fn show(&self, out: &mut StdoutLock<'_>) -> std::io::Result<()> {
        for report in &self.reports {
            writeln!(
                out,
                "{} ({}): {} rows, {} examples, {} tokens, {:.1}% learnt",
                report.path.display(),
                report.format.name(),
                report.rows,
                report.examples,
                report.tokens,
                percent(report.trained, report.tokens)
            )?;
            writeln!(out, "  {}", demonstrations::losses(report, self.max_length))?;
        }
        let [median, p90, longest] = [0.5, 0.9, 1.0].map(|share| self.quantile(share));
        writeln!(out, "lengths: median {median}, 90% up to {p90}, longest {longest} tokens\n")?;
        writeln!(
            out,
            "{:<12} {:>8} {:>8} {:>14} {:>8}",
            "batching", "steps", "passes", "tokens a pass", "filled"
        )?;
        for (batching, filling, steps) in &self.fillings {
            writeln!(
                out,
                "{:<12} {:>8} {:>8} {:>14.0} {:>7.1}%{}",
                batching.name(),
                steps,
                filling.micro_batches,
                filling.tokens as f64 / filling.micro_batches.max(1) as f64,
                percent(filling.tokens, filling.places),
                if *batching == self.batching { "  (chosen)" } else { "" }
            )?;
        }
        Ok(())
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use ivl_core::vocab::Token;

    use super::*;

    #[test]
    fn learnt_text_is_painted_apart_and_letters_of_several_tokens_are_whole() {
        let tokens = [Token::control("<s>"), Token::text(*b"a"), Token::text([0xc3]), Token::text([0xbc])];
        let vocab = Vocab::new(tokens.into_iter().map(Some).collect());
        let example = Example { ids: vec![0, 1, 2, 3, 9], loss_mask: vec![true, false, true, true, true] };
        let painted = |paint| Page { vocab: vocab.clone(), json: false, paint }.painted(&example);
        assert_eq!(painted(PLAIN), "<s>a⟦ü[9]⟧");
        assert_eq!(painted(COLOURED), "\x1b[2m<s>a\x1b[0m\x1b[1;32mü[9]\x1b[0m");
    }
}
