//! The page.

use maud::{Markup, html};

use super::charts::{bars, curves, recovered};
use super::table::tables;
use crate::explanation::HEAT_MAP_STYLE;
use crate::html::page;
use crate::transfer::{Effect, FEWEST_QUESTIONS, ROUNDS, Transfer};

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
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// Which base wrote the answer.
    pub base: String,
    /// From [`heat_map`](crate::explanation::heat_map).
    pub html: Markup,
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
        let body = html! {
            h1 { "How far a value travels" }
            (self.verdict())
            @for (index, table) in tables(transfer).iter().enumerate() {
                section {
                    h2 { (table.title) }
                    (table.html())
                    @match index {
                        0 => div.charts { (bars(transfer, table)) (recovered(transfer, table)) },
                        1 => div.charts { (curves(transfer, table)) },
                        _ => {},
                    }
                }
                @if index == 1 {
                    (self.examples())
                    (self.heat_map())
                }
            }
            (self.about())
        };
        page("How far a value travels", &format!("{HEAT_MAP_STYLE}{STYLE}"), &body)
    }

    fn verdict(&self) -> Markup {
        let verdict = &self.transfer.verdict;
        html! {
            p.verdict { (verdict.text) }
            ul.effects {
                @for base in &verdict.bases {
                    @let (word, sign) = word_and_sign(base.effect);
                    li class=(base.effect.name()) {
                        span aria-hidden="true" { (sign) } " " b { (base.name) } " " (word)
                    }
                }
            }
            p { "Recommended alpha: " b { (verdict.alpha) } }
        }
    }

    fn examples(&self) -> Markup {
        if self.examples.is_empty() {
            return html! {};
        }
        html! {
            section {
                h2 { "Some answers" }
                @for example in &self.examples { (example.html()) }
            }
        }
    }

    fn heat_map(&self) -> Markup {
        let Some(HeatMap { base, html: text }) = self.heat_map else { return html! {} };
        html! {
            section {
                h2 { "What the value changed in one answer" }
                p { "Of " b { (base) } ", token by token." }
                (text)
            }
        }
    }

    fn about(&self) -> Markup {
        let source = &self.transfer.source;
        let seeds = source.tuned_seeds;
        html! {
            section {
                h2 { "How it was measured" }
                p {
                    "Value "
                    @for (index, value) in source.values.iter().enumerate() {
                        @if index > 0 { ", " }
                        code { (value) }
                    }
                    "; " (self.transfer.questions) " questions of " code { (source.data) }
                    ". Standard errors and 95% intervals (bootstrap, " (ROUNDS) " draws, seed " (self.transfer.seed)
                    ") are over questions, and every comparison is paired: both sides answer the same ones. Fewer than "
                    (FEWEST_QUESTIONS) " questions have no interval and no verdict."
                    @if seeds > 0 {
                        " The gap is the difference between a base alone and after a fine-tuning of its own on the same "
                        "demonstrations (" (seeds) @if seeds == 1 { " seed" } @else { " seeds" }
                        " each); a share of 100% means that the value does as much. There is no gap where fine-tuning is "
                        "not clearly better than the base."
                    }
                    " The recommended alpha is 1, with which values are trained, unless another does better by more than "
                    "one standard error on these questions."
                }
                p { "Written by " code { "ivl transfer" } " " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    }
}

fn word_and_sign(effect: Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::Helps => ("helps", "▲"),
        Effect::Unclear => ("no clear difference", "●"),
        Effect::Harms => ("harms", "▼"),
        Effect::TooFewQuestions => ("too few questions", "●"),
    }
}

impl ReportExample {
    fn html(&self) -> Markup {
        html! {
            article {
                p.question { (self.question.trim()) }
                p { "In the data: " (self.reference) }
                div.scroll {
                    table.answers {
                        thead {
                            tr { @for name in ["base", "alone", "with the value"] { th scope="col" { (name) } } }
                        }
                        tbody {
                            @for of in &self.answers {
                                tr { th scope="row" { (of.base) } (answer(&of.alone)) (answer(&of.with)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell with an answer, marked as right or wrong.
fn answer((text, right): &(String, bool)) -> Markup {
    let (word, sign) = if *right { ("right", "✓") } else { ("wrong", "✗") };
    html! {
        td class=(word) {
            span.mark role="img" aria-label=(word) { (sign) }
            @if text.is_empty() { i { "nothing" } } @else { (text) }
        }
    }
}
