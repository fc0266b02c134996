//! Scores of all samples in one figure, with how sure one can be of it.

use super::ScoreValue;
use crate::statistics::{bootstrap_error, mean};
use crate::task::MetricName;

/// Draws of the bootstrap, for figures that are no mean.
const ROUNDS: usize = 1000;

/// One figure of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which metric.
    pub metric: &'static str,
    /// The name of the filter.
    pub filter: String,
    /// The figure.
    pub value: f64,
    /// Its standard error: `s / sqrt(n)` for a mean, by bootstrap over the samples else; none for a single sample.
    pub standard_error: Option<f64>,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// One figure from the scores of all samples.
///
/// A mean of what is right; `exp(-sum of log-likelihoods / sum of units)` for a perplexity; bits per byte in base 2; the
/// share of all instructions where samples have several.
pub(crate) fn aggregate(metric: &'static str, filter: &str, scores: &[&ScoreValue], seed: u64) -> Aggregate {
    let all: Vec<usize> = (0..scores.len()).collect();
    let of = |drawn: &[usize]| figure(metric, drawn.iter().map(|&index| scores[index]));
    let right: Option<Vec<f64>> = scores
        .iter()
        .map(|score| if let ScoreValue::Right(right) = score { Some(*right) } else { None })
        .collect();
    let error = match right {
        _ if scores.len() < 2 => None,
        Some(right) => Some(mean(&right).standard_error),
        None => Some(bootstrap_error(scores.len(), ROUNDS, seed, of)),
    };
    let higher_is_better = !scores.iter().any(|score| matches!(score, ScoreValue::PerUnit(..)));
    Aggregate { metric, filter: filter.to_owned(), value: of(&all), standard_error: error, higher_is_better }
}

fn figure<'a>(metric: &str, scores: impl Iterator<Item = &'a ScoreValue>) -> f64 {
    let (mut sum, mut units, mut perplexity) = (0.0, 0.0, false);
    for score in scores {
        let (more, over) = match score {
            ScoreValue::Right(right) => (*right, 1),
            ScoreValue::PerUnit(loglikelihood, over) => {
                perplexity = true;
                (*loglikelihood, *over)
            }
            ScoreValue::Several(followed) => (followed.iter().filter(|&&f| f).count() as f64, followed.len()),
        };
        sum += more;
        units += over as f64;
    }
    match perplexity {
        false => sum / units,
        true if metric == MetricName::BitsPerByte.name() => -sum / units / std::f64::consts::LN_2,
        true => (-sum / units).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let of =
            |metric, scores: &[ScoreValue]| aggregate(metric, "none", &scores.iter().collect::<Vec<_>>(), 0);
        let right = of("acc", &[1.0, 0.0, 1.0, 1.0].map(ScoreValue::Right));
        assert_eq!((right.value, right.higher_is_better), (0.75, true));
        assert!((right.standard_error.expect("an error") - 0.25).abs() < 1e-12);
        let texts = [ScoreValue::PerUnit(-2.0, 3), ScoreValue::PerUnit(-4.0, 1)];
        let perplexity = of("word_perplexity", &texts);
        assert!((perplexity.value - 1.5_f64.exp()).abs() < 1e-12 && !perplexity.higher_is_better);
        assert!(perplexity.standard_error.expect("an error") > 0.0);
        assert!((of("bits_per_byte", &texts).value - 1.5 / std::f64::consts::LN_2).abs() < 1e-12);
        let several = [ScoreValue::Several(vec![true, false]), ScoreValue::Several(vec![true])];
        assert!((of("inst_level_strict_acc", &several).value - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(of("acc", &[ScoreValue::Right(1.0)]).standard_error, None);
    }
}
