//! The figures as tables of text, for every medium the same.

use maud::{Markup, html};

use crate::transfer::{BaseSummary, FEWEST_QUESTIONS, Figure, IntervalEstimate, SettingSummary, Transfer};

/// A table; the first column names the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its title.
    pub title: String,
    /// A description of its figures.
    pub note: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

/// All tables of a study, the most important first.
pub fn tables(transfer: &Transfer) -> Vec<Table> {
    let mut tables = vec![results(transfer), weights(transfer)];
    if transfer.has_answers() {
        tables.push(losses(transfer));
    }
    tables.push(changes(transfer));
    if transfer.source.values.len() > 1 {
        tables.push(seeds(transfer));
    }
    tables
}

impl Table {
    /// In Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: String = self.header.iter().skip(1).map(|_| "---:|").collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|---|{rule}\n{rows}", line(&self.header))
    }

    /// As an HTML table with header cells for columns and rows; the note is below it.
    pub(super) fn html(&self) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label=(self.title) {
                table.figures aria-label=(self.title) {
                    thead {
                        tr { @for cell in &self.header { th scope="col" { (kept_together(cell)) } } }
                    }
                    tbody {
                        @for cells in &self.rows {
                            tr {
                                @for cell in cells.iter().take(1) { th scope="row" { (kept_together(cell)) } }
                                @for cell in cells.iter().skip(1) { td { (kept_together(cell)) } }
                            }
                        }
                    }
                }
            }
            p.note { (self.note) "." }
        }
    }

    /// In columns of equal width, for a terminal.
    pub fn plain(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.header).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let padded: Vec<String> = padded.collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        line(&self.header) + &self.rows.iter().map(line).collect::<String>()
    }
}

/// A figure with its error, and the ends of an interval, stay on one line.
fn kept_together(cell: &str) -> String {
    cell.replace(" ± ", "\u{a0}±\u{a0}").replace(", ", ",\u{a0}").replace(" *", "\u{a0}*")
}

/// The main table: every base without the value, with it, fine-tuned.
fn results(transfer: &Transfer) -> Table {
    let answers = transfer.has_answers();
    let cell =
        |setting: Option<&SettingSummary>| setting.map_or_else(none, |setting| judged(setting, answers));
    let mut header = vec!["base", "alone", "with the value"];
    if transfer.has_tuned() {
        header.extend(["fine-tuned", "gap recovered"]);
    }
    let row = |base: &BaseSummary| {
        let with = base.at(transfer.verdict.alpha);
        let mut row = vec![name(base), cell(Some(&base.alone)), cell(with)];
        if transfer.has_tuned() {
            row.push(cell(base.tuned.as_ref()));
            row.push(recovered(transfer, base, with.and_then(|with| with.recovered)));
        }
        row
    };
    let what = match answers {
        true => "Right answers in %: greedy, word by word as in the data",
        false => "Loss: cross-entropy of a token of the answer in nats",
    };
    let home = match transfer.bases.iter().any(|base| base.home) {
        true => "; * the value was trained against this base",
        false => "",
    };
    Table {
        title: "What the value does".to_owned(),
        note: format!(
            "{what}, ± standard error; {} questions, alpha {}, 95% intervals in brackets{home}",
            transfer.questions, transfer.verdict.alpha
        ),
        header: owned(&header),
        rows: transfer.bases.iter().map(row).collect(),
    }
}

/// How probable the data's answers are.
fn losses(transfer: &Transfer) -> Table {
    let mut header = vec!["base", "alone", "with the value"];
    if transfer.has_tuned() {
        header.extend(["fine-tuned", "gap recovered"]);
    }
    let row = |base: &BaseSummary| {
        let with = base.at(transfer.verdict.alpha);
        let cell =
            |setting: Option<&SettingSummary>| setting.map_or_else(none, |setting| judged(setting, false));
        let mut row = vec![name(base), cell(Some(&base.alone)), cell(with)];
        if transfer.has_tuned() {
            row.push(cell(base.tuned.as_ref()));
            row.push(recovered(transfer, base, with.and_then(|with| with.recovered_loss)));
        }
        row
    };
    Table {
        title: "How probable the answers are".to_owned(),
        note: format!(
            "Loss: cross-entropy of a token of the data's answers in nats, ± standard error, alpha {}",
            transfer.verdict.alpha
        ),
        header: owned(&header),
        rows: transfer.bases.iter().map(row).collect(),
    }
}

/// How far it moves each base.
fn changes(transfer: &Transfer) -> Table {
    let row = |base: &BaseSummary| {
        let with = base.at(transfer.verdict.alpha);
        let of = |figure: fn(&SettingSummary) -> Option<&Figure>| {
            with.and_then(figure).map_or_else(none, |figure| format!("{:.2}", figure.mean))
        };
        let flips = with.and_then(|with| with.flips.as_ref());
        vec![
            name(base),
            of(|setting| setting.kl.as_ref()),
            flips.map_or_else(none, |flips| percent(flips.mean)),
            format!("{:.2}", base.alone.entropy.mean),
            of(|setting| Some(&setting.entropy)),
            of(|setting| setting.change.as_ref()),
            percent(base.coverage.answers),
        ]
    };
    Table {
        title: "How far it moves each base".to_owned(),
        note: format!(
            "At the tokens of the data's answers, alpha {}. KL(with, alone) and entropy in nats a token; flipped: share of \
             tokens at which another one becomes the most probable; norm: root mean square of what is added to the logits, \
             less its mean; covered: share of the tokens that the value speaks about",
            transfer.verdict.alpha
        ),
        header: owned(&["base", "KL", "flipped", "entropy alone", "with", "norm", "covered"]),
        rows: transfer.bases.iter().map(row).collect(),
    }
}

/// The effect of the weight.
fn weights(transfer: &Transfer) -> Table {
    let answers = transfer.has_answers();
    let mut header = vec!["base".to_owned(), "alone".to_owned()];
    header.extend(transfer.source.alphas.iter().map(|alpha| format!("alpha {alpha}")));
    header.push("best alpha".to_owned());
    let what =
        "by the weight of the value; the best of these weights on each base, its 95% interval in brackets";
    let row = |base: &BaseSummary| {
        let settings = std::iter::once(&base.alone).chain(&base.with);
        let cells = settings.map(|setting| judged(setting, answers));
        std::iter::once(name(base)).chain(cells).chain([best_alpha(base.best_alpha)]).collect()
    };
    Table {
        title: "Which weight".to_owned(),
        note: match answers {
            true => format!("Right answers in %, ± standard error, {what}"),
            false => format!("Loss in nats, ± standard error, {what}"),
        },
        header,
        rows: transfer.bases.iter().map(row).collect(),
    }
}

/// The effect of the seed.
fn seeds(transfer: &Transfer) -> Table {
    let scale = if transfer.has_answers() { 100.0 } else { 1.0 };
    let list = |numbers: &[f64], scale: f64, digits: usize| {
        let numbers = numbers.iter().map(|x| format!("{:.digits$}", scale * x));
        numbers.collect::<Vec<_>>().join(", ")
    };
    let mut header = vec!["base", "with the value"];
    if transfer.has_tuned() {
        header.push("gap recovered, %");
    }
    let row = |base: &BaseSummary| {
        let with = base.at(transfer.verdict.alpha);
        let judged = with.map(|with| with.exact_match.as_ref().unwrap_or(&with.loss));
        let digits = if transfer.has_answers() { 1 } else { 3 };
        let mut row =
            vec![name(base), judged.map_or_else(none, |figure| list(&figure.by_seed, scale, digits))];
        if transfer.has_tuned() {
            row.push(with.map_or_else(none, |with| list(&with.recovered_by_seed, 100.0, 0)));
        }
        row
    };
    Table {
        title: "Each seed".to_owned(),
        note: format!(
            "The {} values of the study one by one, alpha {}",
            transfer.source.values.len(),
            transfer.verdict.alpha
        ),
        header: owned(&header),
        rows: transfer.bases.iter().map(row).collect(),
    }
}

fn owned(header: &[&str]) -> Vec<String> {
    header.iter().map(ToString::to_string).collect()
}

fn none() -> String {
    "–".to_owned()
}

fn name(base: &BaseSummary) -> String {
    format!("{}{}", base.name, if base.home { " *" } else { "" })
}

/// Right answers, or the loss where nothing is answered.
fn judged(setting: &SettingSummary, answers: bool) -> String {
    match &setting.exact_match {
        Some(figure) if answers => with_error(100.0 * figure.mean, 100.0 * figure.standard_error, 1),
        _ => with_error(setting.loss.mean, setting.loss.standard_error, 3),
    }
}

/// The best weight with its interval.
fn best_alpha(alpha: Option<IntervalEstimate>) -> String {
    match alpha {
        Some(IntervalEstimate { value, low: Some(low), high: Some(high) }) => {
            format!("{value} [{low}, {high}]")
        }
        _ => none(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

/// A share of the gap with its interval, or the reason for its absence.
fn recovered(transfer: &Transfer, base: &BaseSummary, share: Option<IntervalEstimate>) -> String {
    match (share, &base.tuned) {
        (Some(IntervalEstimate { value, low: Some(low), high: Some(high) }), _) => {
            format!("{:.0}% [{:.0}, {:.0}]", 100.0 * value, 100.0 * low, 100.0 * high)
        }
        (Some(share), _) => percent(share.value),
        (None, Some(_)) if transfer.questions < FEWEST_QUESTIONS => "too few questions".to_owned(),
        (None, Some(_)) => "no gap".to_owned(),
        (None, None) => none(),
    }
}

/// A mean with its standard error; a single question has none.
fn with_error(mean: f64, standard_error: f64, digits: usize) -> String {
    match standard_error.is_finite() {
        true => format!("{mean:.digits$} ± {standard_error:.digits$}"),
        false => format!("{mean:.digits$}"),
    }
}
