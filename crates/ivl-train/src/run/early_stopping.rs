//! The best value so far, and whether the run should stop.

use serde::{Deserialize, Serialize};

use crate::config::EvalConfig;
use crate::run::report::{Best, EvalReport};

/// Early stopping on the held-out loss; part of every checkpoint.
///
/// The figure is the loss with the value on the base that `eval.figure` names, or its mean over all evaluated bases:
///
/// ```text
/// f = 1/B * sum_b L_b
/// ```
///
/// An evaluation counts as an improvement if `f < f_ref - eval.min_improvement`, with `f_ref` the figure of the last
/// improvement: small gains add up, noise does not. After `eval.patience` evaluations without one the run ends. The best
/// value is the one with the lowest figure, however small the gain; the untrained value (step 0) is never selected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EarlyStopping {
    /// The figure of the last improvement.
    reference: Option<f64>,
    /// Evaluations since.
    stale: usize,
    /// The lowest figure of a trained value.
    pub(crate) best: Option<Best>,
}

impl EarlyStopping {
    /// Records an evaluation after `step` steps and `tokens` trained tokens. Returns whether it is the best so far.
    pub(crate) fn update(
        &mut self,
        config: &EvalConfig,
        evals: &[EvalReport],
        step: usize,
        tokens: u64,
    ) -> bool {
        let figure = figure(config, evals);
        let bar = self.reference.map_or(f64::INFINITY, |reference| reference - config.min_improvement);
        if figure < bar {
            (self.reference, self.stale) = (Some(figure), 0);
        } else {
            self.stale += 1;
        }
        let lowest = self.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        let best = step > 0 && figure < lowest;
        if best {
            self.best = Some(Best { step, loss: figure, tokens, evals: evals.to_vec() });
        }
        best
    }

    /// Gives a run that goes on all of its patience.
    pub(crate) fn reset_patience(&mut self) {
        self.stale = 0;
    }

    /// Whether patience has run out.
    pub(crate) fn should_stop(&self, config: &EvalConfig) -> bool {
        config.patience > 0 && self.stale >= config.patience
    }
}

/// The figure that is watched; infinite if no loss is a number.
fn figure(config: &EvalConfig, evals: &[EvalReport]) -> f64 {
    let watched = evals.iter().filter(|eval| config.figure.is_none() || config.figure == eval.base);
    let (sum, count) = watched.fold((0.0, 0), |(sum, count), eval| (sum + eval.loss, count + 1));
    let mean = sum / f64::from(count);
    if mean.is_finite() { mean } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evals(step: usize, losses: [f64; 2]) -> Vec<EvalReport> {
        let report = |(base, loss): (&str, f64)| EvalReport {
            step,
            base: Some(base.to_owned()),
            base_loss: None,
            loss,
            kl: None,
            accuracy: None,
            margin: None,
            tokens: 1,
        };
        ["small", "large"].into_iter().zip(losses).map(report).collect()
    }

    /// Figures in order; after which evaluation the run ends, and the step of the best.
    fn end(config: &EvalConfig, losses: &[[f64; 2]]) -> (Option<usize>, Option<usize>) {
        let mut stopping = EarlyStopping::default();
        let mut over = None;
        for (step, &pair) in losses.iter().enumerate() {
            stopping.update(config, &evals(step, pair), step, 10 * step as u64);
            over = over.or(stopping.should_stop(config).then_some(step));
            // A checkpoint holds the whole state.
            stopping = toml::from_str(&toml::to_string(&stopping).expect("TOML")).expect("the same");
        }
        (over, stopping.best.map(|best| best.step))
    }

    #[test]
    fn patience_counts_evaluations_without_improvement() {
        let losses = [[4.0; 2], [3.0; 2], [2.0; 2], [2.5; 2], [2.0; 2], [1.0; 2]];
        let config = |patience| EvalConfig { patience, ..Default::default() };
        assert_eq!(end(&config(2), &losses), (Some(4), Some(5)));
        assert_eq!(end(&config(3), &losses), (None, Some(5)));
        assert_eq!(end(&config(0), &losses), (None, Some(5)));
    }

    #[test]
    fn small_gains_are_the_best_but_no_improvement_until_they_add_up() {
        let config = EvalConfig { patience: 3, min_improvement: 0.25, ..Default::default() };
        let falling: Vec<[f64; 2]> = (0..8).map(|step| [4.0 - 0.125 * f64::from(step); 2]).collect();
        assert_eq!(end(&config, &falling), (None, Some(7)));
        let slower: Vec<[f64; 2]> = (0..8).map(|step| [4.0 - 0.0625 * f64::from(step); 2]).collect();
        assert_eq!(end(&config, &slower), (Some(3), Some(7)));
    }

    #[test]
    fn the_figure_is_the_mean_or_one_base() {
        let losses = [[4.0, 4.0], [3.0, 5.5], [2.0, 6.0]];
        let patience = EvalConfig { patience: 1, ..Default::default() };
        assert_eq!(end(&patience, &losses), (Some(1), Some(2)));
        let large = EvalConfig { figure: Some("large".to_owned()), ..patience.clone() };
        assert_eq!(end(&large, &losses), (Some(1), Some(1)));
        let small = EvalConfig { figure: Some("small".to_owned()), ..patience };
        assert_eq!(end(&small, &losses), (None, Some(2)));
    }

    #[test]
    fn neither_an_untrained_value_nor_a_loss_that_is_no_number_is_the_best() {
        let losses = [[1.0, 1.0], [f64::NAN, 0.0], [3.0, 3.0]];
        assert_eq!(end(&EvalConfig::default(), &losses), (None, Some(2)));
    }
}
