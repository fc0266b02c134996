//! The weight of a value that is best on one base.

use super::measured::{MeasuredBase, over_seeds};
use super::recovery::{FEWEST_QUESTIONS, IntervalEstimate, Sums, mean};

/// The measured weight with the best figure on a base: the most right answers, else the lowest loss; of equal ones the nearest to 1,
/// the weight of training.
///
/// The interval holds the best weights of 95% of the bootstrap draws of questions, each of which takes the same questions for all
/// weights. `None` for fewer than [`FEWEST_QUESTIONS`] questions.
pub(super) fn best_alpha(alphas: &[f64], base: &MeasuredBase, seed: u64) -> Option<IntervalEstimate> {
    let quantity = base.judged_by();
    let sign = if quantity.higher_is_better() { 1.0 } else { -1.0 };
    let figures: Vec<Sums> =
        base.with.iter().map(|seeds| over_seeds(seeds, quantity)).collect::<Option<_>>()?;
    let questions = base.alone.observed.len();
    if questions < FEWEST_QUESTIONS || figures.is_empty() {
        return None;
    }
    let from_one = |index: &usize| (alphas[*index] - 1.0).abs();
    let mut order: Vec<usize> = (0..alphas.len()).collect();
    order.sort_by(|a, b| from_one(a).total_cmp(&from_one(b)));
    let best = |drawn: &[usize]| {
        let mut best = (f64::NAN, f64::NEG_INFINITY);
        for &index in &order {
            let figure = sign * mean(&figures[index], drawn);
            if figure > best.1 {
                best = (alphas[index], figure);
            }
        }
        best.0
    };
    Some(IntervalEstimate::new(questions, seed, best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{AnswerStats, MapCoverage, Measured};

    /// A base by the losses of one-token answers at each weight.
    fn base(losses: &[Vec<f64>]) -> MeasuredBase {
        let measured = |losses: &Vec<f64>| Measured {
            observed: losses
                .iter()
                .map(|&nll| AnswerStats { tokens: 1, nll, ..AnswerStats::default() })
                .collect(),
            answers: None,
        };
        MeasuredBase {
            name: "b".to_owned(),
            home: false,
            coverage: MapCoverage { vocabulary: 1.0, answers: 1.0, exact: 1.0 },
            alone: measured(&losses[0]),
            with: losses.iter().map(|losses| vec![measured(losses)]).collect(),
            tuned: Vec::new(),
        }
    }

    #[test]
    fn the_best_weight_has_the_interval_of_its_draws() {
        let alphas = [0.5, 1.0, 1.5];
        let estimate = |losses: [Vec<f64>; 3]| best_alpha(&alphas, &base(&losses), 1);
        // Better on every question: no draw can choose another.
        let sure = estimate([vec![2.0; 40], vec![1.5; 40], vec![1.0; 40]]).expect("an estimate");
        assert_eq!((sure.value, sure.low, sure.high), (1.5, Some(1.5), Some(1.5)));
        // Two weights that are better on half of the questions each: draws choose either.
        let half = |first: bool| -> Vec<f64> {
            (0..40).map(|question| if (question < 20) == first { 1.0 } else { 2.0 }).collect()
        };
        let unsure = estimate([half(true), vec![3.0; 40], half(false)]).expect("an estimate");
        assert_eq!((unsure.low, unsure.high), (Some(0.5), Some(1.5)));
        // Equal weights: that of training.
        let equal = estimate([vec![1.0; 40], vec![1.0; 40], vec![1.0; 40]]).expect("an estimate");
        assert_eq!((equal.value, equal.low, equal.high), (1.0, Some(1.0), Some(1.0)));
        let few = FEWEST_QUESTIONS - 1;
        assert_eq!(estimate([vec![2.0; few], vec![1.5; few], vec![1.0; few]]), None);
    }
}
