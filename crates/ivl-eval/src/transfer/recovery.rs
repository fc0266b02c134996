//! Paired comparisons over questions: how much better, and which share of what fine-tuning gives.

use serde::Serialize;

use crate::statistics::{Interval, bootstrap};

/// Draws of a bootstrap.
pub(crate) const ROUNDS: usize = 2000;

/// Intervals hold the middle 95%.
const LEVEL: f64 = 0.95;

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IntervalEstimate {
    /// On all questions.
    pub value: f64,
    /// Lower end of the 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl IntervalEstimate {
    fn new(value: f64, interval: Interval) -> Self {
        Self { value, low: interval.low, high: interval.high }
    }

    /// Whether the whole interval is above 0.
    pub fn is_positive(&self) -> bool {
        self.low > 0.0
    }

    /// Whether the whole interval is below 0.
    pub fn is_negative(&self) -> bool {
        self.high < 0.0
    }
}

/// A mean over drawn questions: the sum of the first numbers over that of the second. For a share of right answers the
/// second is 1 a question, for a loss the tokens of the answer.
fn mean(sums: &[(f64, f64)], drawn: &[usize]) -> f64 {
    let (sum, count) =
        drawn.iter().fold((0.0, 0.0), |(sum, count), &index| (sum + sums[index].0, count + sums[index].1));
    sum / count
}

fn all(questions: usize) -> Vec<usize> {
    (0..questions).collect()
}

/// By how much the mean of the one exceeds that of the other, with a bootstrap interval over questions that keeps the two
/// paired.
///
/// # Panics
/// If they are not about the same number of questions.
pub fn difference(of: &[(f64, f64)], over: &[(f64, f64)], seed: u64) -> IntervalEstimate {
    assert_eq!(of.len(), over.len(), "both answer the same questions");
    let statistic = |drawn: &[usize]| mean(of, drawn) - mean(over, drawn);
    IntervalEstimate::new(statistic(&all(of.len())), bootstrap(of.len(), ROUNDS, LEVEL, seed, statistic))
}

/// The share of the fine-tuning gap that a value recovers,
///
/// ```text
/// (with - alone) / (tuned - alone)
/// ```
///
/// of means over questions, with a bootstrap interval in which every draw takes the same questions for all three. Right for
/// figures that grow and for figures that fall. `None` if there is no gap to recover: the interval of `tuned - alone`
/// holds 0.
///
/// # Panics
/// If the three are not about the same number of questions.
pub fn gap_recovered(
    alone: &[(f64, f64)],
    with: &[(f64, f64)],
    tuned: &[(f64, f64)],
    seed: u64,
) -> Option<IntervalEstimate> {
    assert_eq!(alone.len(), with.len(), "all three answer the same questions");
    let gap = difference(tuned, alone, seed);
    if !gap.is_positive() && !gap.is_negative() {
        return None;
    }
    let statistic = |drawn: &[usize]| {
        let alone = mean(alone, drawn);
        (mean(with, drawn) - alone) / (mean(tuned, drawn) - alone)
    };
    let share = statistic(&all(alone.len()));
    Some(IntervalEstimate::new(share, bootstrap(alone.len(), ROUNDS, LEVEL, seed, statistic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(answers: &[u8]) -> Vec<(f64, f64)> {
        answers.iter().map(|&answer| (f64::from(answer), 1.0)).collect()
    }

    #[test]
    fn shares_by_hand() {
        // 1 of 8, 4 of 8, 7 of 8: half of the gap.
        let alone = right(&[1, 0, 0, 0, 0, 0, 0, 0]);
        let with = right(&[1, 1, 1, 1, 0, 0, 0, 0]);
        let tuned = right(&[1, 1, 1, 1, 1, 1, 1, 0]);
        let share = gap_recovered(&alone, &with, &tuned, 1).expect("a gap");
        assert!((share.value - 0.5).abs() < 1e-12);
        assert!(share.low > 0.0 && share.low < 0.5 && share.high > 0.5 && share.high < 1.0, "{share:?}");
        // Losses fall: 10 nats over 4 tokens, 6 over 4, 2 over 4.
        let loss = |a: f64, b: f64| vec![(a, 1.0), (b, 3.0)];
        let share = gap_recovered(&loss(4.0, 6.0), &loss(3.0, 3.0), &loss(1.0, 1.0), 1).expect("a gap");
        assert!((share.value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn pairing_narrows_the_interval() {
        // Questions differ much, the two models by the same on each.
        let hard: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 1.0)).collect();
        let easier: Vec<(f64, f64)> = hard.iter().map(|(x, n)| (x - 1.0, *n)).collect();
        let gain = difference(&hard, &easier, 3);
        assert!((gain.value - 1.0).abs() < 1e-9 && (gain.high - gain.low) < 1e-9, "{gain:?}");
        let mut shuffled = easier.clone();
        shuffled.rotate_left(37);
        let unpaired = difference(&hard, &shuffled, 3);
        assert!(unpaired.high - unpaired.low > 5.0, "{unpaired:?}");
    }

    #[test]
    fn without_a_gap_there_is_no_share() {
        let same = right(&[1, 0, 1, 0]);
        assert_eq!(gap_recovered(&same, &same, &same, 1), None);
        let noisy = right(&[1, 0, 1, 1]);
        assert_eq!(gap_recovered(&same, &same, &noisy, 1), None);
    }
}
