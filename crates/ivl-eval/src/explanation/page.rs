//! Explanations as a page of their own.

use ivl_core::Vocab;
use ivl_core::score::TokenExplanation;
use maud::{Markup, html};

use super::heat_map::{HEAT_MAP_STYLE, heat_map};
use super::influence::{Influence, MeanChange};
use crate::html::page;

/// Texts that one page holds; more make it slow to open.
const MOST_TEXTS: usize = 200;

/// The effects of values on a base: the means, and a heat map of every text.
#[derive(Debug)]
pub struct ExplanationPage<'a> {
    /// The base's name.
    pub base: &'a str,
    /// The values' names, each with its weight.
    pub values: &'a [(String, f64)],
    /// The base's vocabulary.
    pub vocab: &'a Vocab,
    /// Means over all texts.
    pub influence: &'a Influence,
    /// The texts.
    pub texts: &'a [ExplainedText<'a>],
}

/// A text with its explanation.
#[derive(Debug)]
pub struct ExplainedText<'a> {
    /// Where the text is from, if there are several.
    pub origin: Option<&'a str>,
    /// Token ids.
    pub ids: &'a [u32],
    /// One explanation, or none, for each token.
    pub tokens: &'a [Option<TokenExplanation>],
}

impl ExplanationPage<'_> {
    /// The page. It loads nothing, and no text in it is markup.
    pub fn html(&self) -> String {
        let names: Vec<String> = self.values.iter().map(|(name, _)| name.clone()).collect();
        let body = html! {
            h1 { "What " (names.join(", ")) " changed on " (self.base) }
            (self.means())
            @for text in self.texts.iter().take(MOST_TEXTS) {
                @if let Some(origin) = text.origin { h2 { (origin) } }
                (heat_map(self.vocab, text.ids, text.tokens, &names))
            }
            @if self.texts.len() > MOST_TEXTS {
                p { "The first " (MOST_TEXTS) " of " (self.texts.len()) " texts." }
            }
        };
        page("What values changed", HEAT_MAP_STYLE, &body)
    }

    fn means(&self) -> Markup {
        let Influence { all, values, conflicts, tokens, .. } = self.influence;
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            @for name in ["value", "alpha", "nats a token", "another first choice", "KL"] {
                                th scope="col" { (name) }
                            }
                        }
                    }
                    tbody {
                        @if let [(name, alpha)] = self.values {
                            (mean_row(name, Some(*alpha), all))
                        } @else {
                            @for ((name, alpha), own) in self.values.iter().zip(values) {
                                (mean_row(&format!("due to {name}"), Some(*alpha), own))
                            }
                            (mean_row("all", None, all))
                        }
                    }
                }
            }
            @for conflict in conflicts {
                p {
                    (self.values[conflict.first].0) " and " (self.values[conflict.second].0) ": cosine "
                    (real_minus(format!("{:.3}", conflict.cosine))) ", they raise different tokens most at "
                    (percent(conflict.favourites_differ)) " and would choose different ones at "
                    (percent(conflict.choices_differ)) "."
                }
            }
            p { (tokens) " tokens are explained." }
        }
    }
}

fn mean_row(name: &str, alpha: Option<f64>, change: &MeanChange) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            td { @if let Some(alpha) = alpha { (alpha) } }
            td { (real_minus(format!("{:+.3}", change.delta))) }
            td { (percent(change.flips)) }
            td { (format!("{:.3}", change.kl)) }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn real_minus(number: String) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use ivl_core::vocab::Token;

    use super::*;

    #[test]
    fn names_of_values_bases_and_files_are_no_markup() {
        let vocab = Vocab::new(vec![Some(Token::text(*b"<b>")), Some(Token::text(*b"b"))]);
        let tokens = [None, Some(TokenExplanation::between(&[&[0.0, 0.0], &[0.0, 1.0], &[1.0, 1.0]], 1))];
        let explained: Vec<&TokenExplanation> = tokens.iter().flatten().collect();
        let hostile = "<img src=x onerror=alert(1)>";
        let page = ExplanationPage {
            base: hostile,
            values: &[(hostile.to_owned(), 1.0), ("plain".to_owned(), 0.5)],
            vocab: &vocab,
            influence: &Influence::of(&explained),
            texts: &[ExplainedText { origin: Some(hostile), ids: &[0, 1], tokens: &tokens }],
        };
        let html = page.html();
        assert!(!html.contains("<img") && !html.contains("<b><"), "{html}");
        assert!(html.contains("<h2>&lt;img src=x") && html.contains("due to &lt;img"), "{html}");
        assert!(html.contains("plain: cosine") && html.contains("1 tokens are explained."), "{html}");
    }
}
