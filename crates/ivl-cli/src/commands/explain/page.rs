//! Explanations as a page of their own.

use ivl::eval::explanation::{ExplainedText, ExplanationPage, Influence};
use ivl::{Explanation, Model};

/// The means and a heat map of every text.
pub fn page(explanations: &[Explanation], influence: &Influence, model: &Model) -> String {
    let values: Vec<(String, f64)> =
        model.values().iter().map(|value| (value.name().to_owned(), value.alpha())).collect();
    let texts: Vec<ExplainedText<'_>> = explanations
        .iter()
        .map(|text| ExplainedText { origin: text.origin.as_deref(), ids: &text.ids, tokens: &text.tokens })
        .collect();
    let page = ExplanationPage {
        base: &model.base_name(),
        values: &values,
        vocab: model.vocab(),
        influence,
        texts: &texts,
    };
    page.html()
}
