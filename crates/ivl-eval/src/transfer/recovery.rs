//! Paired comparisons over questions: how much better a model is, and which share of the fine-tuning gap a value recovers.

use serde::Serialize;

use crate::statistics::{Interval, bootstrap};

/// Draws of a bootstrap.
pub(crate) const ROUNDS: usize = 2000;

/// Intervals hold the middle 95%.
const LEVEL: f64 = 0.95;

/// Fewest questions for an interval. Percentile intervals of fewer are much too narrow; that of a single question has no
/// width at all.
pub const FEWEST_QUESTIONS: usize = 10;

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IntervalEstimate {
    /// On all questions.
    pub value: f64,
    /// Lower end of the 95% interval; none for fewer than [`FEWEST_QUESTIONS`] questions.
    pub low: Option<f64>,
    /// Upper end; none as well.
    pub high: Option<f64>,
}

impl IntervalEstimate {
    /// A statistic of all questions, with its bootstrap interval.
    pub(super) fn new(questions: usize, seed: u64, statistic: impl Fn(&[usize]) -> f64) -> Self {
        let all: Vec<usize> = (0..questions).collect();
        let value = statistic(&all);
        if questions < FEWEST_QUESTIONS {
            return Self { value, low: None, high: None };
        }
        let Interval { low, high } = bootstrap(questions, ROUNDS, LEVEL, seed, statistic);
        let finite = |end: f64| Some(end).filter(|end| end.is_finite());
        Self { value, low: finite(low), high: finite(high) }
    }

    /// Whether there is an interval and all of it is above 0.
    pub fn is_positive(&self) -> bool {
        self.low.is_some_and(|low| low > 0.0)
    }

    /// Whether there is an interval and all of it is below 0.
    pub fn is_negative(&self) -> bool {
        self.high.is_some_and(|high| high < 0.0)
    }
}

/// A figure of every question: a sum, and what it is divided by. For a share of right answers the divisor is 1, for a loss
/// the tokens of the answer.
pub(super) type Sums = Vec<(f64, f64)>;

/// The mean over drawn questions: the sum of the sums over the sum of the divisors.
pub(super) fn mean(sums: &[(f64, f64)], drawn: &[usize]) -> f64 {
    let (sum, count) =
        drawn.iter().fold((0.0, 0.0), |(sum, count), &index| (sum + sums[index].0, count + sums[index].1));
    sum / count
}

/// By how much the mean of `of` exceeds that of `over`, with a bootstrap interval over questions that keeps the two paired.
///
/// # Panics
/// If they are not about the same number of questions.
pub(super) fn difference(of: &[(f64, f64)], over: &[(f64, f64)], seed: u64) -> IntervalEstimate {
    assert_eq!(of.len(), over.len(), "both answer the same questions");
    IntervalEstimate::new(of.len(), seed, |drawn| mean(of, drawn) - mean(over, drawn))
}

/// One figure of the same questions in three settings.
pub(super) struct Gap {
    /// The base without the value.
    pub(super) alone: Sums,
    /// The base with the value.
    pub(super) with: Sums,
    /// The base after a fine-tuning of its own.
    pub(super) tuned: Sums,
    /// Whether larger figures are better: right answers, not losses.
    pub(super) higher_is_better: bool,
}

impl Gap {
    /// The share of the gap that the value recovers,
    ///
    /// ```text
    /// (with - alone) / (tuned - alone)
    /// ```
    ///
    /// of means over questions, with a bootstrap interval in which every draw takes the same questions for all three.
    ///
    /// `None` if fine-tuning is not better than the base: unless the whole interval of `tuned - alone` is on the better
    /// side of 0 there is no gap to recover, and the quotient would call a harmful value a recovery.
    ///
    /// # Panics
    /// If the three are not about the same number of questions.
    pub(super) fn recovered(&self, seed: u64) -> Option<IntervalEstimate> {
        let Self { alone, with, tuned, higher_is_better } = self;
        assert_eq!(alone.len(), with.len(), "all three answer the same questions");
        let gap = difference(tuned, alone, seed);
        let is_better = if *higher_is_better { gap.is_positive() } else { gap.is_negative() };
        is_better.then(|| {
            IntervalEstimate::new(alone.len(), seed, |drawn| {
                let alone = mean(alone, drawn);
                (mean(with, drawn) - alone) / (mean(tuned, drawn) - alone)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of right answers, and of questions.
    fn right(right: usize, questions: usize) -> Sums {
        (0..questions).map(|index| (f64::from(u8::from(index < right)), 1.0)).collect()
    }

    /// The same loss of every answer of four tokens.
    fn loss(nats: f64, questions: usize) -> Sums {
        vec![(4.0 * nats, 4.0); questions]
    }

    fn recovered(alone: Sums, with: Sums, tuned: Sums, higher_is_better: bool) -> Option<IntervalEstimate> {
        Gap { alone, with, tuned, higher_is_better }.recovered(1)
    }

    #[test]
    fn shares_by_hand() {
        // 2 of 16, 8 of 16, 14 of 16: half of the gap.
        let share = recovered(right(2, 16), right(8, 16), right(14, 16), true).expect("a gap");
        assert!((share.value - 0.5).abs() < 1e-12);
        let (low, high) = (share.low.expect("an interval"), share.high.expect("an interval"));
        assert!(low > 0.0 && low < 0.5 && high > 0.5 && high < 1.0, "{share:?}");
        // Losses fall.
        let share = recovered(loss(2.5, 16), loss(1.5, 16), loss(0.5, 16), false).expect("a gap");
        assert!((share.value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn pairing_narrows_the_interval() {
        // Questions differ much, the two models by the same on each.
        let hard: Sums = (0..100).map(|i| (f64::from(i), 1.0)).collect();
        let easier: Sums = hard.iter().map(|(x, n)| (x - 1.0, *n)).collect();
        let width = |estimate: IntervalEstimate| {
            estimate.high.expect("an interval") - estimate.low.expect("an interval")
        };
        let gain = difference(&hard, &easier, 3);
        assert!((gain.value - 1.0).abs() < 1e-9 && width(gain) < 1e-9, "{gain:?}");
        let mut shuffled = easier.clone();
        shuffled.rotate_left(37);
        assert!(width(difference(&hard, &shuffled, 3)) > 5.0);
    }

    #[test]
    fn there_is_no_share_unless_fine_tuning_is_better() {
        // No difference, and one of a single question.
        assert_eq!(recovered(right(8, 16), right(8, 16), right(8, 16), true), None);
        assert_eq!(recovered(right(8, 16), right(8, 16), right(9, 16), true), None);
        // A fine-tuning that does harm: neither a value that harms as well nor one that helps recovers anything.
        for with in [1, 15] {
            assert_eq!(recovered(right(12, 16), right(with, 16), right(4, 16), true), None);
        }
        for with in [6.5, 1.2] {
            assert_eq!(recovered(loss(3.9, 16), loss(with, 16), loss(6.1, 16), false), None);
        }
    }

    #[test]
    fn few_questions_have_no_interval_and_no_share() {
        for questions in 1..FEWEST_QUESTIONS {
            let gain = difference(&right(questions, questions), &right(0, questions), 1);
            assert_eq!((gain.value, gain.low, gain.high), (1.0, None, None));
            assert!(!gain.is_positive() && !gain.is_negative());
            let all = |right_answers| right(right_answers, questions);
            assert_eq!(recovered(all(0), all(questions), all(questions), true), None);
        }
        let gain = difference(&right(10, FEWEST_QUESTIONS), &right(0, FEWEST_QUESTIONS), 1);
        assert!(gain.is_positive());
    }
}
