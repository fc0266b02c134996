//! The verdict in the value's card.

use std::path::Path;

use ivl_eval::transfer::{BaseSummary, IntervalEstimate, SettingSummary};
use ivl_models::{TransferBase, TransferCard, ValueCard};

use super::study::Study;
use crate::error::Result;

/// Writes the verdict and the recommended weight to the card of every seed of the value. A value from the hub has its card in a
/// cache, which is left as it is: the result names the values whose card was not written.
///
/// # Errors
/// The error of a card.
pub fn write_verdict(study: &Study) -> Result<Vec<String>> {
    let mut without_card = Vec::new();
    for value in &study.transfer.source.values {
        let path = Path::new(value);
        let Some(mut card) = path.exists().then(|| ValueCard::read(path)).transpose()?.flatten() else {
            without_card.push(value.clone());
            continue;
        };
        card.alpha = study.transfer.verdict.alpha;
        card.transfer = Some(transfer_card(study));
        card.write(path)?;
    }
    Ok(without_card)
}

fn transfer_card(study: &Study) -> TransferCard {
    let transfer = &study.transfer;
    let answers = transfer.has_answers();
    let interval = |share: IntervalEstimate| Some([share.value, share.low?, share.high?]);
    let base = |base: &BaseSummary| {
        let verdict = transfer.verdict.bases.iter().find(|verdict| verdict.name == base.name);
        let figure = |setting: &SettingSummary| match &setting.exact_match {
            Some(exact_match) if answers => exact_match.mean,
            _ => setting.loss.mean,
        };
        TransferBase {
            name: base.name.clone(),
            trained_against: base.home,
            effect: verdict.map_or_else(String::new, |verdict| verdict.effect.name().to_owned()),
            alone: figure(&base.alone),
            with: base.at(transfer.verdict.alpha).map(figure),
            full: base.tuned.as_ref().map(figure),
            alpha: base.best_alpha.and_then(interval),
            gain: verdict.and_then(|verdict| verdict.gain).and_then(interval),
            recovered: verdict.and_then(|verdict| verdict.recovered).and_then(interval),
        }
    };
    TransferCard {
        verdict: transfer.verdict.text.clone(),
        alpha: transfer.verdict.alpha,
        figure: if answers { "exact_match" } else { "loss" }.to_owned(),
        data: study.data.clone(),
        questions: transfer.questions,
        seeds: transfer.source.values.len(),
        bases: transfer.bases.iter().map(base).collect(),
    }
}
