//! The page.

use super::charts::{bars, curves, recovered};
use super::table::tables;
use crate::html::{escape, page};
use crate::transfer::{Effect, Transfer};

/// Styles of this page; colours of charts are replaced here, so that they follow the page's scheme.
const STYLE: &str = include_str!("style.css");

/// A study, with what makes it easy to picture.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The figures.
    pub transfer: &'a Transfer,
    /// Some questions with answers.
    pub examples: Vec<ReportExample>,
    /// The explanation of one answer.
    pub heat_map: Option<&'a HeatMap>,
}

/// The explanation of one answer: an HTML fragment, and the style it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatMap {
    /// Which base wrote the answer.
    pub base: String,
    /// From [`heat_map`](crate::explanation::heat_map).
    pub html: String,
}

/// A question and what every base answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportExample {
    /// As the base reads it.
    pub question: String,
    /// The answer of the data.
    pub reference: String,
    /// One for each base.
    pub answers: Vec<AnswerOf>,
}

/// The answers of one base without and with the value, and whether they are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerOf {
    /// Which base.
    pub base: String,
    /// Without the value.
    pub alone: (String, bool),
    /// With the value.
    pub with: (String, bool),
}

impl Report<'_> {
    /// One HTML page that loads nothing: it can be mailed, printed, and read on a phone.
    pub fn html(&self) -> String {
        let transfer = self.transfer;
        let tables = tables(transfer);
        let mut body = format!("<h1>How far a value travels</h1>\n{}", self.verdict());
        for (index, table) in tables.iter().enumerate() {
            body += &format!("<section>\n<h2>{}</h2>\n{}", escape(&table.title), table.html());
            body += &match index {
                0 => format!(
                    "<div class=\"charts\">\n{}{}</div>\n",
                    bars(transfer, table),
                    recovered(transfer, table)
                ),
                1 => format!("<div class=\"charts\">\n{}</div>\n", curves(transfer, table)),
                _ => String::new(),
            };
            body += "</section>\n";
            if index == 1 {
                body += &self.examples();
                body += &self.heat_map();
            }
        }
        body += &self.about();
        page("How far a value travels", &format!("{}{STYLE}", crate::explanation::HEAT_MAP_STYLE), &body)
    }

    fn verdict(&self) -> String {
        let verdict = &self.transfer.verdict;
        let word = |effect: Effect| match effect {
            Effect::Helps => ("helps", "▲"),
            Effect::Unclear => ("no clear difference", "●"),
            Effect::Harms => ("harms", "▼"),
            Effect::TooFewQuestions => ("too few questions", "●"),
        };
        let base = |base: &crate::transfer::BaseVerdict| {
            let (word, sign) = word(base.effect);
            format!(
                "<li class=\"{}\"><span aria-hidden=\"true\">{sign}</span> <b>{}</b> {word}</li>",
                base.effect.name(),
                escape(&base.name)
            )
        };
        format!(
            "<p class=\"verdict\">{}</p>\n<ul class=\"effects\">{}</ul>\n<p>Recommended alpha: <b>{}</b></p>\n",
            escape(&verdict.text),
            verdict.bases.iter().map(base).collect::<String>(),
            verdict.alpha
        )
    }

    fn examples(&self) -> String {
        if self.examples.is_empty() {
            return String::new();
        }
        let answer = |(text, right): &(String, bool)| {
            let (class, sign, word) =
                if *right { ("right", "✓", "right") } else { ("wrong", "✗", "wrong") };
            let text = if text.is_empty() { "<i>nothing</i>".to_owned() } else { escape(text) };
            format!(
                "<td class=\"{class}\"><span class=\"mark\" role=\"img\" aria-label=\"{word}\">{sign}</span>{text}</td>"
            )
        };
        let example = |example: &ReportExample| {
            let row = |of: &AnswerOf| {
                format!(
                    "<tr><th scope=\"row\">{}</th>{}{}</tr>\n",
                    escape(&of.base),
                    answer(&of.alone),
                    answer(&of.with)
                )
            };
            format!(
                "<article>\n<p class=\"question\">{}</p>\n<p>In the data: {}</p>\n<div class=\"scroll\"><table class=\"answers\">\n\
                 <thead><tr><th scope=\"col\">base</th><th scope=\"col\">alone</th><th scope=\"col\">with the value</th></tr></thead>\n\
                 <tbody>\n{}</tbody>\n</table></div>\n</article>\n",
                escape(example.question.trim()),
                escape(&example.reference),
                example.answers.iter().map(row).collect::<String>()
            )
        };
        let examples: String = self.examples.iter().map(example).collect();
        format!("<section>\n<h2>Some answers</h2>\n{examples}</section>\n")
    }

    fn heat_map(&self) -> String {
        let Some(HeatMap { base, html }) = self.heat_map else { return String::new() };
        format!(
            "<section>\n<h2>What the value changed in one answer</h2>\n<p>Of <b>{}</b>, token by token.</p>\n{html}</section>\n",
            escape(base)
        )
    }

    fn about(&self) -> String {
        let source = &self.transfer.source;
        let code = |text: &String| format!("<code>{}</code>", escape(text));
        let values: Vec<String> = source.values.iter().map(code).collect();
        let tuned = match source.tuned_seeds {
            0 => String::new(),
            seeds => format!(
                " The gap is the difference between a base alone and after a fine-tuning of its own on the same \
                 demonstrations ({seeds} {} each); a share of 100% means that the value does as much.",
                if seeds == 1 { "seed" } else { "seeds" }
            ),
        };
        format!(
            "<section>\n<h2>How it was measured</h2>\n<p>Value {}; {} questions of {}. Standard errors and 95% intervals \
             (bootstrap, {} draws, seed {}) are over questions, and every comparison is paired: it asks both sides the same \
             ones.{tuned} The recommended alpha is 1, with which values are trained, unless another does better by more \
             than one standard error on these questions.</p>\n<p>Written by <code>ivl transfer</code> {}.</p>\n</section>\n",
            values.join(", "),
            self.transfer.questions,
            code(&source.data),
            crate::transfer::ROUNDS,
            self.transfer.seed,
            env!("CARGO_PKG_VERSION"),
        )
    }
}
