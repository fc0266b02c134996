//! `ivl data preview`: what a run would learn from.

use std::io::Write;

use anyhow::Result;
use ivl::core::Vocab;
use ivl::train::{Batching, Filling};
use ivl::{DataPreview, DataStatistics, PreviewedExample, readable_token};
use serde_json::{Value, json};

use super::train::{Display, lost_rows, read_config};
use crate::args::{Color, Common, Preview};
use crate::color::is_colored;
use crate::output::{Output, stdout};

pub fn preview(args: &Preview, common: &Common) -> Result<()> {
    let config = read_config(&args.config, &args.set, common)?;
    let preview = DataPreview::open(&config, args.eval)?;
    let page = Page::new(preview.models().tokenizer().vocab(), common);
    let mut out = stdout();
    for example in preview.examples(args.number) {
        page.show_example(&mut out, &example?)?;
    }
    let mut display = Display::new(common);
    let statistics = preview.statistics(move |event| display.show(&event))?;
    page.show_statistics(&mut out, &statistics, config.data.batching)
}

/// How the page is written.
struct Page {
    vocab: Vocab,
    json: bool,
    paint: Paint,
}

/// The marks around trained and untrained text.
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

    fn show_example(&self, out: &mut Output, row: &PreviewedExample) -> Result<()> {
        let (PreviewedExample { place, example, length, .. }, mask) = (row, row.loss_mask());
        if self.json {
            let mut line = json!({
                "path": place.path, "number": place.number, "format": row.format,
                "ids": example.ids, "mask": mask, "length": length,
            });
            if let Some(side) = row.side {
                line["side"] = side.into();
            }
            writeln!(out, "{line}")?;
            return Ok(());
        }
        let cut = if *length > example.ids.len() { format!(", cut from {length}") } else { String::new() };
        writeln!(
            out,
            "── {place}, {}{}: {} tokens, {} trained{cut}",
            row.format.name(),
            row.side.map_or(String::new(), |side| format!(", {side}")),
            example.ids.len(),
            example.trained_tokens(),
        )?;
        writeln!(out, "{}\n", self.painted(&example.ids, &mask))?;
        Ok(())
    }

    /// The text of an example, with trained parts marked. Bytes are joined first: a letter may take several tokens.
    fn painted(&self, ids: &[u32], mask: &[bool]) -> String {
        let mut text = String::new();
        let tokens: Vec<(u32, bool)> = ids.iter().copied().zip(mask.iter().copied()).collect();
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
            None => readable_token(&self.vocab, id).into_bytes(),
        }
    }

    fn show_statistics(&self, out: &mut Output, statistics: &DataStatistics, chosen: Batching) -> Result<()> {
        if self.json {
            writeln!(out, "{}", json!({ "statistics": as_json(statistics, chosen) }))?;
            return Ok(());
        }
        let [open, close] = self.paint.learnt;
        writeln!(out, "{open}trained{close} text counts in the loss; the rest is only read\n")?;
        show(out, statistics, chosen)
    }
}

fn as_json(statistics: &DataStatistics, chosen: Batching) -> Value {
    let filling = |(batching, filling, steps): &(Batching, Filling, usize)| {
        json!({
            "batching": batching, "chosen": *batching == chosen, "steps": steps, "passes": filling.micro_batches,
            "rows": filling.rows, "tokens": filling.tokens, "places": filling.places,
        })
    };
    let [median, p90, longest] = [0.5, 0.9, 1.0].map(|share| statistics.quantile(share));
    json!({
        "max_length": statistics.max_length,
        "sources": statistics.reports,
        "lengths": { "median": median, "p90": p90, "longest": longest },
        "batching": statistics.batchings.iter().map(filling).collect::<Vec<_>>(),
    })
}

fn show(out: &mut Output, statistics: &DataStatistics, chosen: Batching) -> Result<()> {
    for report in &statistics.reports {
        writeln!(
            out,
            "{} ({}): {} rows, {} {}, {} tokens, {:.1}% trained",
            report.path.display(),
            report.format.name(),
            report.rows,
            report.examples,
            if report.format.is_paired() { "pairs" } else { "examples" },
            report.tokens,
            percent(report.trained, report.tokens)
        )?;
        writeln!(out, "  {}", lost_rows(report, statistics.max_length))?;
    }
    let [median, p90, longest] = [0.5, 0.9, 1.0].map(|share| statistics.quantile(share));
    writeln!(out, "lengths: median {median}, 90% up to {p90}, longest {longest} tokens\n")?;
    writeln!(
        out,
        "{:<12} {:>8} {:>8} {:>14} {:>8}",
        "batching", "steps", "passes", "tokens a pass", "filled"
    )?;
    for (batching, filling, steps) in &statistics.batchings {
        writeln!(
            out,
            "{:<12} {:>8} {:>8} {:>14.0} {:>7.1}%{}",
            batching.name(),
            steps,
            filling.micro_batches,
            filling.tokens as f64 / filling.micro_batches.max(1) as f64,
            percent(filling.tokens, filling.places),
            if *batching == chosen { "  (chosen)" } else { "" }
        )?;
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use ivl::core::vocab::Token;

    use super::*;

    #[test]
    fn learnt_text_is_painted_apart_and_letters_of_several_tokens_are_whole() {
        let tokens = [Token::control("<s>"), Token::text(*b"a"), Token::text([0xc3]), Token::text([0xbc])];
        let vocab = Vocab::new(tokens.into_iter().map(Some).collect());
        let (ids, mask) = ([0, 1, 2, 3, 9], [false, false, true, true, true]);
        let painted = |paint| Page { vocab: vocab.clone(), json: false, paint }.painted(&ids, &mask);
        assert_eq!(painted(PLAIN), "<s>a⟦ü[9]⟧");
        assert_eq!(painted(COLOURED), "\x1b[2m<s>a\x1b[0m\x1b[1;32mü[9]\x1b[0m");
    }
}
