//! Measurements, question by question.

use super::answers::GradedAnswer;
use super::coverage::MapCoverage;
use super::recovery::{Gap, IntervalEstimate, Sums, difference};
use super::teacher_forcing::AnswerStats;

/// One model on all questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Under teacher forcing.
    pub observed: Vec<AnswerStats>,
    /// Generated; none where the data has no questions to answer.
    pub answers: Option<Vec<GradedAnswer>>,
}

/// One base on all questions. Every list of [`Measured`] has one for each seed.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredBase {
    /// As it is called in the table.
    pub name: String,
    /// Whether the value was trained against it.
    pub home: bool,
    /// The coverage of the value.
    pub coverage: MapCoverage,
    /// The base without the value.
    pub alone: Measured,
    /// With the value, for each alpha.
    pub with: Vec<Vec<Measured>>,
    /// After full fine-tuning; empty without one.
    pub tuned: Vec<Measured>,
}

/// A figure of a model on a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Loss,
    ExactMatch,
    Entropy,
    Kl,
    Flips,
    Change,
}

impl Quantity {
    pub(super) fn higher_is_better(self) -> bool {
        self == Self::ExactMatch
    }
}

impl MeasuredBase {
    /// The figure of the verdict: right answers if there are any, else the loss.
    pub(super) fn judged_by(&self) -> Quantity {
        if self.alone.answers.is_some() { Quantity::ExactMatch } else { Quantity::Loss }
    }

    /// The gain of some seeds together over the base.
    pub(super) fn gain(&self, seeds: &[Measured], seed: u64) -> Option<IntervalEstimate> {
        let quantity = self.judged_by();
        let (with, alone) = (over_seeds(seeds, quantity)?, self.alone.sums(quantity)?);
        Some(match quantity.higher_is_better() {
            true => difference(&with, &alone, seed),
            false => difference(&alone, &with, seed),
        })
    }

    /// The share of the fine-tuning gap that some seeds together recover; none without a fine-tuning and where it is not
    /// better than the base.
    pub(super) fn recovered(
        &self,
        seeds: &[Measured],
        quantity: Quantity,
        seed: u64,
    ) -> Option<IntervalEstimate> {
        let gap = Gap {
            alone: self.alone.sums(quantity)?,
            with: over_seeds(seeds, quantity)?,
            tuned: over_seeds(&self.tuned, quantity)?,
            higher_is_better: quantity.higher_is_better(),
        };
        gap.recovered(seed)
    }
}

impl Measured {
    /// A figure of every question, as a sum and what it is divided by; none if it was not measured.
    pub(super) fn sums(&self, quantity: Quantity) -> Option<Sums> {
        if quantity == Quantity::ExactMatch {
            let answers = self.answers.as_ref()?;
            return Some(answers.iter().map(|answer| (f64::from(u8::from(answer.correct)), 1.0)).collect());
        }
        let of = |seen: &AnswerStats| match quantity {
            Quantity::Loss | Quantity::ExactMatch => seen.nll,
            Quantity::Entropy => seen.entropy,
            Quantity::Kl => seen.kl,
            Quantity::Flips => seen.flips,
            Quantity::Change => seen.change,
        };
        Some(self.observed.iter().map(|seen| (of(seen), seen.tokens as f64)).collect())
    }
}

/// A figure of every question, the mean over seeds.
pub(super) fn over_seeds(seeds: &[Measured], quantity: Quantity) -> Option<Sums> {
    let all: Vec<Sums> = seeds.iter().map(|seed| seed.sums(quantity)).collect::<Option<_>>()?;
    let first = all.first()?;
    let mean = |question: usize| {
        let sum = all.iter().map(|seed| seed[question].0).sum::<f64>();
        (sum / all.len() as f64, first[question].1)
    };
    Some((0..first.len()).map(mean).collect())
}
