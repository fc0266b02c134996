//! Where a value helps, by how much, and with which weight.

use serde::Serialize;

use super::measured::{MeasuredBase, Quantity, over_seeds};
use super::recovery::{FEWEST_QUESTIONS, IntervalEstimate};
use crate::statistics::mean;

/// The effect of a value on a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The whole 95% interval of the gain is above 0.
    Helps,
    /// The interval holds 0.
    Unclear,
    /// The whole interval is below 0.
    Harms,
    /// Fewer than [`FEWEST_QUESTIONS`] questions: no verdict.
    TooFewQuestions,
}

impl Effect {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::Unclear => "unclear",
            Self::Harms => "harms",
            Self::TooFewQuestions => "too-few-questions",
        }
    }
}

/// The effect of a value on one base, at the recommended alpha.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaseVerdict {
    /// Which base.
    pub name: String,
    /// Whether the value was trained against it.
    pub home: bool,
    /// In a word.
    pub effect: Effect,
    /// The gain over the base without the value.
    pub gain: Option<IntervalEstimate>,
    /// Share of the fine-tuning gap.
    pub recovered: Option<IntervalEstimate>,
}

/// Where a value helps, by how much, and with which weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The weight to use: the one with which the value was trained (or the nearest that was measured), unless another is
    /// better by more than one standard error of the difference, over all bases, on at least [`FEWEST_QUESTIONS`] questions.
    pub alpha: f64,
    /// For every base.
    pub bases: Vec<BaseVerdict>,
    /// In a sentence or two.
    pub text: String,
}

impl Verdict {
    pub(super) fn new(alphas: &[f64], measured: &[MeasuredBase], seed: u64) -> Self {
        let best = recommended(alphas, measured);
        let questions = measured.first().map_or(0, |base| base.alone.observed.len());
        let bases = measured.iter().map(|base| {
            let seeds = &base.with[best];
            let gain = base.gain(seeds, seed);
            let effect = match gain {
                _ if questions < FEWEST_QUESTIONS => Effect::TooFewQuestions,
                Some(gain) if gain.is_positive() => Effect::Helps,
                Some(gain) if gain.is_negative() => Effect::Harms,
                _ => Effect::Unclear,
            };
            let recovered = base.recovered(seeds, base.judged_by(), seed);
            BaseVerdict { name: base.name.clone(), home: base.home, effect, gain, recovered }
        });
        let bases: Vec<BaseVerdict> = bases.collect();
        let alpha = alphas.get(best).copied().unwrap_or(1.0);
        let text = match questions < FEWEST_QUESTIONS {
            true => too_few(questions),
            false => text(&bases, measured),
        };
        Self { alpha, bases, text }
    }
}

/// Index of the alpha to use.
fn recommended(alphas: &[f64], measured: &[MeasuredBase]) -> usize {
    let trained =
        (0..alphas.len()).min_by(|&a, &b| f64::total_cmp(&(alphas[a] - 1.0).abs(), &(alphas[b] - 1.0).abs()));
    let trained = trained.unwrap_or(0);
    if measured.iter().any(|base| base.alone.observed.len() < FEWEST_QUESTIONS) {
        return trained;
    }
    let mut best = (trained, 0.0);
    for other in (0..alphas.len()).filter(|&other| other != trained) {
        let gains = mean(&gains(measured, other, trained));
        if gains.mean > gains.standard_error && gains.mean > best.1 {
            best = (other, gains.mean);
        }
    }
    best.0
}

/// By how much one alpha does better than another on every question, the mean over bases.
fn gains(measured: &[MeasuredBase], one: usize, other: usize) -> Vec<f64> {
    let of_base = |base: &MeasuredBase| -> Option<Vec<f64>> {
        let quantity = base.judged_by();
        let sign = if quantity == Quantity::Loss { -1.0 } else { 1.0 };
        let (one, other) = (over_seeds(&base.with[one], quantity)?, over_seeds(&base.with[other], quantity)?);
        let count = one.iter().map(|sums| sums.1).sum::<f64>() / one.len() as f64;
        Some(one.iter().zip(&other).map(|(one, other)| sign * (one.0 - other.0) / count).collect())
    };
    let all: Vec<Vec<f64>> = measured.iter().filter_map(of_base).collect();
    let questions = all.iter().map(Vec::len).min().unwrap_or(0);
    (0..questions).map(|q| all.iter().map(|base| base[q]).sum::<f64>() / all.len() as f64).collect()
}

/// The text in place of a verdict.
fn too_few(questions: usize) -> String {
    let noun = if questions == 1 { "question is" } else { "questions are" };
    format!("{questions} {noun} too few for a verdict, which needs at least {FEWEST_QUESTIONS}.")
}

/// The verdict in words: bases that training never saw first, since they are what a value is for.
fn text(bases: &[BaseVerdict], measured: &[MeasuredBase]) -> String {
    let away: Vec<&BaseVerdict> = bases.iter().filter(|base| !base.home).collect();
    let (judged, which) = match away.is_empty() {
        true => (bases.iter().collect(), ""),
        false => (away, " that its training never saw"),
    };
    let answers = measured.iter().any(|base| base.alone.answers.is_some());
    let named = |effect: Effect| -> Vec<String> {
        let line = |base: &&BaseVerdict| {
            let gain = base.gain.map_or_else(String::new, |gain| match answers {
                true => format!(" ({:+.1} points", 100.0 * gain.value),
                false => format!(" ({:+.3} nats a token", gain.value),
            });
            let recovered = base.recovered.map_or_else(String::new, |share| {
                format!(", {:.0}% of the gap to its own fine-tuning", 100.0 * share.value)
            });
            let close = if gain.is_empty() { "" } else { ")" };
            format!("{}{gain}{recovered}{close}", base.name)
        };
        judged.iter().filter(|base| base.effect == effect).map(line).collect()
    };
    let helped = named(Effect::Helps);
    let mut text = match (helped.len(), judged.len()) {
        (0, 1) => format!("The value does not help the base{which}."),
        (0, all) => format!("The value helps none of the {all} bases{which}."),
        (1, 1) => format!("The value helps the base{which}: {}.", helped[0]),
        (some, all) if some == all => {
            format!("The value helps all {all} bases{which}: {}.", helped.join(", "))
        }
        (some, all) => format!("The value helps {some} of the {all} bases{which}: {}.", helped.join(", ")),
    };
    for (effect, what) in [(Effect::Unclear, " No clear difference on "), (Effect::Harms, " It harms ")] {
        let names = named(effect);
        if !names.is_empty() {
            text.push_str(&format!("{what}{}.", names.join(", ")));
        }
    }
    text
}
